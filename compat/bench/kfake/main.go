// kfake as a process with the arguments of "kbroker serve": franz-go's Kafka in memory, one broker.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	port := flag.Int("port", 9092, "port to listen on, on 127.0.0.1")
	ignored := func(string) error { return nil }
	flag.Func("host", "is always 127.0.0.1", ignored)
	flag.Func("data-dir", "nothing is kept", ignored)
	flag.Func("override", "there are no settings", ignored)
	flag.Parse()

	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.Ports(*port),
		kfake.AllowAutoTopicCreation(),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer cluster.Close()
	fmt.Printf("kbroker ready bootstrap=127.0.0.1:%d (kfake)\n", *port)

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}
