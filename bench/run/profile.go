package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"jarvis-gateway/bench/load"
)

// profile takes a CPU profile of the gateway under the scenario's load. It has a run of its own:
// taking a profile costs CPU and would show in the figures.
func (s *scenario) profile(ctx context.Context, b *bench, loads []*load.Load) error {
	i := slices.IndexFunc(b.targets, func(t target) bool { return t.admin != "" })
	if b.profile == "" || i < 0 {
		return nil
	}
	const seconds = 3
	run := make(chan struct{})
	go func() {
		defer close(run)
		loads[i].Run(ctx, (seconds+1)*time.Second)
	}()
	err := fetchProfile(ctx, b.targets[i].admin, seconds, filepath.Join(b.profile, s.Name+".pprof"))
	<-run
	if err != nil {
		progress("%-10s no profile: %v", s.Name, err) // an extra: the figures stand without it
	}
	return ctx.Err()
}

func fetchProfile(ctx context.Context, admin string, seconds int, file string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, seconds)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Timeout: time.Duration(seconds+10) * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the admin port answers %s", res.Status)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if err = os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
