//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/load"
)

// The whole rig, for a moment, with a second bare proxy in the gateway's place.
func TestRig(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts processes")
	}
	t.Chdir("../..")
	dir := t.TempDir()
	o, err := parse([]string{"-self", "-rounds", "1", "-duration", "100ms", "-scenarios", "small,small-1000,burst", "-out", dir})
	if err != nil {
		t.Fatal(err)
	}
	if err = measure(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "latest.md"))
	if err != nil || strings.Count(string(md), "| pass |")+strings.Count(string(md), "| miss |") < 3 {
		t.Errorf("%v\n%s", err, md)
	}
}

// Whatever ends the runner, no process of its stays behind.
func TestStopEndsTheChildren(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts processes")
	}
	t.Chdir("../..")
	ctx, cancel := context.WithCancel(t.Context())
	b, err := start(ctx, options{only: []string{"bare"}, provider: "./bench/fakellm/serve"})
	if err != nil {
		t.Fatal(err)
	}
	pids := []load.Process{load.Process(b.upstream.cmd.Process.Pid), b.targets[0].process}
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err = scenarios[0].measure(ctx, b); err == nil {
		t.Error("an interrupted scenario has figures")
	}
	b.stop()
	for _, p := range pids {
		if _, err := p.RSS(); err == nil {
			t.Errorf("process %d still runs", int(p))
		}
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s stays: %v", b.dir, err)
	}
}
