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

func TestKindsByFlags(t *testing.T) {
	for _, c := range []struct {
		args   []string
		path   string
		body   string
		status int
	}{
		{[]string{"-kind", "anthropic"}, "/v1/messages", `{"model":"fake","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, 200},
		{[]string{"-kind", "bedrock", "-api-key", "k"}, "/model/fake/converse", `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`, 200},
		{[]string{"-kind", "bedrock", "-aws-key-id", "a", "-aws-secret", "b"}, "/model/fake/converse", `{}`, 403},
	} {
		r, w := io.Pipe()
		stop, done := make(chan os.Signal), make(chan error)
		go func() { done <- run(c.args, w, stop) }()
		url, err := bufio.NewReader(r).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, strings.TrimSpace(url)+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "Anthropic-Version": {"2023-06-01"}, "Authorization": {"Bearer k"}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%v: %d", c.args, res.StatusCode)
		}
		stop <- syscall.SIGTERM
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{{"-kind", "frob"}, {"extra"}, {"-addr", "nowhere:x"}, {"-kind", "bedrock", "-bedrock-model", "no/such/file"}} {
		if err := run(args, io.Discard, nil); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
