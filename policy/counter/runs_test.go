package counter_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/policy/counter"
)

const runnerURL = "RUNS_TEST_URL"

// quickly is how fast the places of the dead return here.
var quickly = counter.Tuning{Lease: 3 * time.Second}

const mostRuns = 5

// runner is a gateway that shares its limits on flow runs with others.
func runner(url string) (*policy.Gate, *policy.Caller, *counter.Counters, error) {
	c, err := counter.OpenWith(counter.Options{URL: url, OnError: "closed"}, quickly)
	if err != nil {
		return nil, nil, nil, err
	}
	const key = "jv-0123456789abcdef"
	gate, err := policy.New(policy.Setup{Counters: c, Limits: policy.Limits{FlowRuns: mostRuns + 1}, Tenants: map[string]policy.Tenant{
		"acme": {Limits: policy.Limits{FlowRuns: mostRuns}, UserLimits: policy.Limits{FlowRuns: mostRuns - 1}, Keys: []policy.Key{{Name: "a", Key: key}}},
	}}, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	caller, err := gate.Identify([]byte(key), time.Now())
	return gate, caller, c, err
}

// fill starts as many runs as there may be, of two end users, and returns them.
func fill(gate *policy.Gate, caller *policy.Caller) (runs []*policy.Run) {
	for i := range 2 * mostRuns {
		if r, err := gate.StartRun(context.Background(), caller, fmt.Sprint("user", i%2)); err == nil {
			runs = append(runs, r)
		}
	}
	return runs
}

// TestRunsOfTheDead kills a process in the middle of its flow runs. While it lives its places
// are its own, and then they return when its leases end.
func TestRunsOfTheDead(t *testing.T) {
	if url := os.Getenv(runnerURL); url != "" {
		runUntilKilled(url)
	}
	url := "redis://" + startRedis(t) + "/0"
	gate, caller, c, err := runner(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		gate.Close(nil)
		_ = c.Close()
	})
	child := exec.Command(os.Args[0], "-test.run", "^TestRunsOfTheDead$")
	child.Env = append(os.Environ(), runnerURL+"="+url)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != fmt.Sprint(mostRuns, " run") {
		t.Fatalf("the other process says %q", lines.Text())
	}
	// Longer than any lease: the places of one who lives stay his.
	for end := time.Now().Add(2 * quickly.Lease); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if runs := fill(gate, caller); len(runs) > 0 {
			t.Fatalf("%d runs beyond the limit", len(runs))
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	killed := time.Now()
	var runs []*policy.Run
	for len(runs) < mostRuns && time.Since(killed) < patience {
		runs = append(runs, fill(gate, caller)...)
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d places were back after %v", len(runs), time.Since(killed))
	if len(runs) != mostRuns || len(fill(gate, caller)) > 0 {
		t.Errorf("%d runs, the limit is %d", len(runs), mostRuns)
	}
	for _, r := range runs {
		r.End()
	}
	if runs = fill(gate, caller); len(runs) != mostRuns {
		t.Errorf("%d places after the end of all runs", len(runs))
	}
}

func runUntilKilled(url string) {
	gate, caller, _, err := runner(url)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(fill(gate, caller)), "run")
	select {}
}
