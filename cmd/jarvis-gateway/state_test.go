package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// In a place that cannot be written the gateway serves without its disk, unless the place was chosen.
func TestStateWithoutADisk(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Chdir("/sys") // nobody can write there
	} else {
		dir := t.TempDir()
		t.Chdir(dir)
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	s := &live{log: slog.New(slog.NewJSONHandler(io.MultiWriter(&log), nil)), conf: &loaded{places: map[string]place{}}}
	s.conf.Stores.State = "sqlite:" + filepath.Join("data", "jarvis.db")
	store, err := s.openState(t.Context())
	if err != nil || !strings.Contains(log.String(), "set stores.state") {
		t.Fatalf("%v, %s", err, log.String())
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	s.conf.places["stores.state"] = place{}
	if store, err := s.openState(t.Context()); err == nil {
		_ = store.Close()
		t.Error("a chosen place that cannot be written is passed over in silence")
	} else if !strings.Contains(err.Error(), "stores.state") {
		t.Errorf("no remedy: %v", err)
	}
}
