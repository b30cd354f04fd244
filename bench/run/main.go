// run measures the gateway against the bare fasthttp proxy and against no proxy at all, in interleaved rounds, and
// writes the figures next to their targets. It exits with 1 if a single reply was lost or wrong.
//
//	go run ./bench/run [-quick] [-scenarios small,paced] [-only direct,bare] [-profile DIR]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds    int
	duration  time.Duration
	scenarios []string
	only      []string
	out       string
	profile   string
	provider  string // package
	self      bool
}

func main() {
	runtime.LockOSThread() // children die with the thread that started them: this one lives as long as the process
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	opt, err := parse(os.Args[1:])
	if err == nil {
		err = measure(ctx, opt)
	}
	interrupted := ctx.Err() != nil // asked before stop, which ends ctx too
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case interrupted:
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 5, "rounds of direct, bare, gateway per scenario")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "of one measurement")
	f.StringVar(&o.out, "out", "bench/results", "folder for latest.md and latest.json; empty: print only")
	f.StringVar(&o.profile, "profile", "", "folder for CPU profiles of the gateway, taken in runs of their own after the rounds")
	f.StringVar(&o.provider, "upstream", "./bench/fakellm/serve", "package of the simulated provider")
	f.BoolVar(&o.self, "self", false, "put a second bare proxy in the gateway's place: shows the rig's own error")
	names := f.String("scenarios", "", "of "+strings.Join(scenarioNames(), ",")+"; empty: all")
	only := f.String("only", strings.Join(targetNames, ","), "what to measure")
	quick := f.Bool("quick", false, "2 rounds of 1s: a minute, good for a look")
	if err = f.Parse(args); err != nil {
		return o, flag.ErrHelp // Parse has said what is wrong
	}
	if *quick {
		o.rounds, o.duration = 2, time.Second
	}
	if o.scenarios, err = choose("scenario", *names, scenarioNames()); err != nil {
		return o, err
	}
	o.only, err = choose("target", *only, targetNames)
	return o, err
}

// choose splits a comma-separated list and checks it; an empty list is everything.
func choose(what, list string, have []string) ([]string, error) {
	if list == "" {
		return have, nil
	}
	names := strings.Split(list, ",")
	for _, n := range names {
		if !slices.Contains(have, n) {
			return nil, fmt.Errorf("unknown %s %q (have: %s)", what, n, strings.Join(have, ", "))
		}
	}
	return names, nil
}

// measure runs the chosen scenarios and reports them. A scenario that fails leaves the others' figures standing.
func measure(ctx context.Context, o options) error {
	if err := raiseFileLimit(); err != nil {
		return err
	}
	b, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	rep := report{Machine: thisMachine(), Rounds: o.rounds, Duration: o.duration.String(), Self: o.self}
	for _, s := range scenarios {
		if !slices.Contains(o.scenarios, s.Name) {
			continue
		}
		readings, err := s.measure(ctx, b)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			progress("%-10s failed: %v", s.Name, err)
			rep.Failed = append(rep.Failed, fmt.Sprintf("%s: %v", s.Name, err))
			continue
		}
		rep.add(s, readings)
	}
	return errors.Join(rep.write(o.out), rep.faults())
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
