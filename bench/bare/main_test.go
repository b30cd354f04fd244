package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/load"
)

// through starts a bare proxy in front of h and returns its address.
func through(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	up := httptest.NewServer(h)
	t.Cleanup(up.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := server(up.Listener.Addr().String())
	go srv.Serve(l)
	t.Cleanup(func() { srv.Shutdown() })
	return l.Addr().String()
}

func TestPassesEverythingThrough(t *testing.T) {
	addr := through(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Got", fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Authorization"), " ", r.Header.Get("User-Agent"), " ", len(body)))
		w.WriteHeader(http.StatusTeapot)
		w.Write(body)
	})
	body := string(load.Chat("m", false, 100<<10))
	req, _ := http.NewRequest(http.MethodPost, "http://"+addr+"/v1/%3Ax?a=b", strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer k")
	req.Header.Set("User-Agent", "t")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != body || res.StatusCode != http.StatusTeapot {
		t.Errorf("status %d, %d bytes of %d, %v", res.StatusCode, len(got), len(body), err)
	}
	if got, want := res.Header.Get("X-Got"), fmt.Sprint("POST /v1/%3Ax?a=b Bearer k t ", len(body)); got != want {
		t.Errorf("upstream saw %q, want %q", got, want)
	}
}

// Each event must arrive before the next one is sent.
func TestRelaysEventByEvent(t *testing.T) {
	seen := make(chan bool)
	addr := through(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 5 {
			fmt.Fprintf(w, "data: {\"i\":%d}\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-seen:
			case <-time.After(time.Minute):
				return
			}
		}
	})
	res, err := http.Post("http://"+addr+"/", "application/json", strings.NewReader(`{"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf := make([]byte, 100)
	for i := range 5 {
		n, err := res.Body.Read(buf)
		if got, want := string(buf[:n]), fmt.Sprintf("data: {\"i\":%d}\n\n", i); got != want {
			t.Fatalf("event %d is %q (%v), want %q", i, got, err, want)
		}
		seen <- true
	}
	if n, err := res.Body.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("after the last event: %q, %v", buf[:n], err)
	}
}

func TestUpstreamGone(t *testing.T) {
	addr := through(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	res, err := http.Post("http://"+addr+"/", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d, want 502", res.StatusCode)
	}
}
