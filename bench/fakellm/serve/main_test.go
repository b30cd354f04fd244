package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestRun(t *testing.T) {
	r, w := io.Pipe()
	stop, done := make(chan os.Signal), make(chan error)
	go func() { done <- run([]string{"-kind", "vllm", "-tokens", "3", "-log"}, w, stop) }()
	url, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSpace(url)
	for path, want := range map[string]string{"/v1/chat/completions": `"completion_tokens":3`, "/_fake/reset": `"requests": 0`} {
		res, err := http.Post(url+path, "application/json", strings.NewReader(`{"model":"fake","messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !strings.Contains(string(all), want) {
			t.Errorf("%s: %s %v", path, all, err)
		}
	}
	stop <- syscall.SIGTERM
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get(url + "/health"); err == nil {
		t.Error("still serving")
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{{"-kind", "frob"}, {"extra"}, {"-addr", "nowhere:x"}} {
		if err := run(args, io.Discard, nil); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
