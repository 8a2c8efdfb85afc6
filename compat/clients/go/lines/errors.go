package lines

import "github.com/twmb/franz-go/pkg/kerr"

// ErrorName gives Kafka's name of an error code, for libraries that have numbers and sentences only.
func ErrorName(code int16) string {
	if known := kerr.TypedErrorForCode(code); known != nil {
		return known.Message
	}
	return "NONE"
}
