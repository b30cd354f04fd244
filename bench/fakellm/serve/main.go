// Command serve runs one simulated LLM provider until SIGTERM.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"jarvis-gateway/bench/fakellm"
)

func main() {
	debug.SetGCPercent(1000) // the heap is small, and the collector should not show in what is measured
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	if err := run(os.Args[1:], os.Stdout, stop); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

// run prints one line with the URL, then serves until stop.
func run(args []string, out io.Writer, stop <-chan os.Signal) error {
	o, err := options(args)
	if err != nil {
		return err
	}
	s, err := fakellm.Start(o)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Fprintln(out, s.URL())
	<-stop
	return nil
}

func options(args []string) (fakellm.Options, error) {
	var o fakellm.Options
	var kept bool
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	f.StringVar(&o.Addr, "addr", "127.0.0.1:0", "host:port to listen on")
	f.Func("kind", "openai (default), azure, vllm, anthropic or bedrock", func(s string) error { o.Kind = fakellm.Kind(s); return nil })
	f.StringVar(&o.APIKey, "api-key", "", "answer 401 to any other key; Bedrock's bearer token")
	f.StringVar(&o.AWS.AccessKeyID, "aws-key-id", "", "bedrock: requests must be signed with this access key, and with the secret and token below")
	f.StringVar(&o.AWS.SecretAccessKey, "aws-secret", "", "bedrock: the secret of -aws-key-id")
	f.StringVar(&o.AWS.SessionToken, "aws-token", "", "bedrock: the session token of -aws-key-id, if it has one")
	f.StringVar(&o.BedrockModel, "bedrock-model", "", "bedrock: check requests against AWS's service-2.json at this path")
	f.BoolVar(&o.TLS, "tls", false, "serve HTTPS with a certificate of its own")
	f.BoolVar(&o.Lenient, "lenient", false, "accept unknown request fields")
	f.IntVar(&o.MaxRunning, "max-running", 0, "answers generated at a time, 0: no bound")
	f.IntVar(&o.PrefixBlocks, "prefix-blocks", 0, "size of the prefix cache in blocks of 64 bytes, 0: none")
	f.IntVar(&o.Default.Tokens, "tokens", 0, "completion tokens of an answer, 0: 16")
	f.IntVar(&o.Default.Size, "size", 0, "bytes of an answer's text, 0: as the tokens make it")
	f.DurationVar(&o.Default.Delay, "delay", 0, "wait before the headers")
	f.DurationVar(&o.Default.FirstTokenDelay, "first-token-delay", 0, "wait before the first stream event")
	f.DurationVar(&o.Default.EventDelay, "event-delay", 0, "wait between stream events")
	f.BoolVar(&kept, "log", false, "keep requests for GET /_fake/log, not only counters for GET /_fake/stats")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.Quiet, o.LogBodies = !kept, kept
	return o, nil
}
