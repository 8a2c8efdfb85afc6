// Package lines speaks the protocol of compat/clients/driver.py: one JSON request a line on standard input, one answer
// a line on standard output, in order.
package lines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// Request holds what any request may carry; which fields count depends on Do.
type Request struct {
	ID int    `json:"id"`
	Do string `json:"do"`

	Bootstrap         string            `json:"bootstrap"`
	Topic             string            `json:"topic"`
	Partition         int32             `json:"partition"`
	Partitions        int32             `json:"partitions"`
	ReplicationFactor int16             `json:"replication_factor"`
	Config            map[string]string `json:"config"`

	Name            string   `json:"name"`
	Acks            string   `json:"acks"`
	Compression     string   `json:"compression"`
	Idempotent      *bool    `json:"idempotent"`
	TransactionalID string   `json:"transactional_id"`
	RequestBytesMax int32    `json:"request_bytes_max"`
	Producer        string   `json:"producer"`
	Records         []Record `json:"records"`
	Offsets         []Offset `json:"offsets"`

	Topics              []string `json:"topics"`
	Group               string   `json:"group"`
	Assignor            string   `json:"assignor"`
	InstanceID          string   `json:"instance_id"`
	SessionTimeoutMS    int64    `json:"session_timeout_ms"`
	HeartbeatIntervalMS int64    `json:"heartbeat_interval_ms"`
	Assign              []Offset `json:"assign"`
	Isolation           string   `json:"isolation"`
	FetchBytesMax       int32    `json:"fetch_bytes_max"`
	Consumer            string   `json:"consumer"`
	Count               int      `json:"count"`
	TimeoutMS           int64    `json:"timeout_ms"`
	TimestampMS         int64    `json:"timestamp_ms"`
}

// Brokers are the addresses of Bootstrap.
func (r *Request) Brokers() []string { return strings.Split(r.Bootstrap, ",") }

// Timeout is how long a poll may take.
func (r *Request) Timeout() time.Duration { return milliseconds(r.TimeoutMS) }

// SessionTimeout is a group member's; zero for the library's own.
func (r *Request) SessionTimeout() time.Duration { return milliseconds(r.SessionTimeoutMS) }

// HeartbeatInterval is a group member's; zero for the library's own.
func (r *Request) HeartbeatInterval() time.Duration { return milliseconds(r.HeartbeatIntervalMS) }

func milliseconds(count int64) time.Duration { return time.Duration(count) * time.Millisecond }

// Record is one record to send; encoding/json reads base64 into the byte slices, and null as nil.
type Record struct {
	Topic       string   `json:"topic"`
	Partition   *int32   `json:"partition"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []Header `json:"headers"`
	TimestampMS *int64   `json:"timestamp_ms"`
}

// Consumed is one record that was read.
type Consumed struct {
	Topic       string   `json:"topic"`
	Partition   int32    `json:"partition"`
	Offset      int64    `json:"offset"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []Header `json:"headers"`
	TimestampMS int64    `json:"timestamp_ms"`
}

// Header is a pair of two on the line: [name, value].
type Header struct {
	Name  string
	Value []byte
}

// MarshalJSON writes the pair.
func (h Header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.Name, h.Value}) }

// UnmarshalJSON reads the pair.
func (h *Header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.Name, &h.Value})
}

// Offset is a place in a partition; Earliest and Latest are places too.
type Offset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Earliest and Latest stand for offsets in a request; Unknown in an answer.
const (
	Earliest = -2
	Latest   = -1
	Unknown  = -1
)

// Sent is where a record went.
type Sent struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// TopicPartition is a pair of two on the line: [topic, partition].
type TopicPartition struct {
	Topic     string
	Partition int32
}

// MarshalJSON writes the pair.
func (p TopicPartition) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.Topic, p.Partition})
}

// Polled answers a poll.
type Polled struct {
	Records    []Consumed       `json:"records"`
	Assignment []TopicPartition `json:"assignment"`
}

// PartitionState describes one partition of a topic.
type PartitionState struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	InSync    []int32 `json:"in_sync"`
}

// Nothing is the answer of what only succeeds.
type Nothing struct{}

// Error is a failure whose name the driver chose.
type Error struct{ Name, Message string }

func (e *Error) Error() string { return e.Message }

// features are the names in compat/clients/features.py.
var features = []string{
	"admin", "none", "gzip", "snappy", "lz4", "zstd", "idempotent", "transactions", "exactly_once", "eager",
	"cooperative", "static", "seek_by_time", "headers", "large_messages", "many_partitions", "restart", "failover",
}

// Hello answers hello for the library that lives in module.
func Hello(client, module string, unsupported map[string]string) any {
	supported := []string{}
	for _, feature := range features {
		if _, found := unsupported[feature]; !found {
			supported = append(supported, feature)
		}
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				version = dependency.Version
			}
		}
	}
	return map[string]any{
		"client": client, "version": version, "language": "Go",
		"features": supported, "unsupported": unsupported,
	}
}

// Handlers are what a driver can do, by the request's "do".
type Handlers map[string]func(*Request) (any, error)

// Serve answers requests until standard input ends. nameOf gives the name of the library's own errors.
func Serve(handlers Handlers, nameOf func(error) string) {
	input, output := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err == io.EOF {
			return
		} else if err != nil {
			Say("standard input: %v", err)
			return
		}
		if err := output.Encode(answer(line, handlers, nameOf)); err != nil {
			Say("standard output: %v", err)
			return
		}
	}
}

func answer(line []byte, handlers Handlers, nameOf func(error) string) map[string]any {
	request := &Request{}
	if err := json.Unmarshal(line, request); err != nil {
		return failure(request.ID, "BadRequest", err)
	}
	handler, found := handlers[request.Do]
	if !found {
		return failure(request.ID, "NotSupported", fmt.Errorf("this driver has no %q", request.Do))
	}
	result, err := handler(request)
	if own, ok := err.(*Error); ok {
		return failure(request.ID, own.Name, err)
	} else if err != nil {
		return failure(request.ID, nameOf(err), err)
	}
	return map[string]any{"id": request.ID, "result": result}
}

func failure(id int, name string, err error) map[string]any {
	return map[string]any{"id": id, "error": name, "message": err.Error()}
}

// Say writes a line for people.
func Say(format string, arguments ...any) { fmt.Fprintf(os.Stderr, format+"\n", arguments...) }

// Named keeps what requests refer to by name.
type Named[T any] map[string]T

// Get finds name, or fails the way a request with a wrong name should.
func (n Named[T]) Get(kind, name string) (T, error) {
	found, ok := n[name]
	if !ok {
		return found, &Error{"BadRequest", fmt.Sprintf("there is no %s %q", kind, name)}
	}
	return found, nil
}
