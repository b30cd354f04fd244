package state

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKilled writes in another process and kills it: all that was acknowledged must be there.
func TestKilled(t *testing.T) {
	if url := os.Getenv("STATE_KILLED"); url != "" {
		writeUntilKilled(url)
	}
	both(t, testKilled)
}

func testKilled(t *testing.T, url string) {
	for round := range 3 {
		done := killedAfter(t, 200, url, round)
		s, err := Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range done {
			switch what, _, _ := strings.Cut(id, "_"); what {
			case "resp":
				if r, err := s.Get(t.Context(), "a", id); err != nil || len(r.Body) != 3000 {
					t.Errorf("%s is lost: %v", id, err)
				}
			case "once":
				if first, err := s.Once(t.Context(), id, time.Now().Add(time.Hour)); first || err != nil {
					t.Errorf("%s is first again: %v", id, err)
				}
			}
		}
		checkWhole(t, s, done)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkWhole looks for what was acknowledged, and that whatever is there is there with all that belongs to it.
func checkWhole(t *testing.T, s *Store, done []string) {
	t.Helper()
	d, err := s.Directory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := s.Audit(t.Context(), Filter{Limit: mostPage})
	if err != nil {
		t.Fatal(err)
	}
	there, told := map[string]bool{}, map[string]bool{}
	for _, k := range d.Keys {
		there[k.ID] = true
		if !k.Revoked.IsZero() {
			there["revoked "+k.ID] = true
		}
	}
	for i, e := range entries {
		told[e.Action+" "+e.Target] = true
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d is the %d.", e.Seq, i+1)
		}
	}
	for _, id := range done {
		if strings.HasPrefix(id, "key_") && !there[id] || strings.HasPrefix(id, "revoked ") && !there[id] {
			t.Errorf("%s is lost", id)
		}
		if strings.HasPrefix(id, "told ") && !told[id] {
			t.Errorf("%s is lost", id)
		}
	}
	for id := range there {
		action := "add " + id
		if revoked, ok := strings.CutPrefix(id, "revoked "); ok {
			action = "revoke " + revoked
		}
		if !told[action] {
			t.Errorf("%s is there, but not in the audit log", id)
		}
	}
	if len(entries) == 0 || d.Revision == 0 {
		t.Error("nothing was written")
	}
}

// killedAfter is what a process says it has done before it is killed, n lines or a few more.
func killedAfter(t *testing.T, n int, url string, round int) (done []string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
	child.Env = append(os.Environ(), "STATE_KILLED="+url, fmt.Sprint("STATE_ROUND=", round))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if done = append(done, lines.Text()); len(done) == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if len(done) < n {
		t.Fatalf("only %d were written", len(done))
	}
	return done
}

func writeUntilKilled(url string) {
	ctx := context.Background()
	s, err := Open(ctx, url)
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	say := func(err error, lines ...string) {
		if err != nil {
			panic(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, line := range lines {
			fmt.Println(line)
		}
	}
	name := func(what string, writer, i int) string {
		return fmt.Sprintf("%s_%s_%d_%d", what, os.Getenv("STATE_ROUND"), writer, i)
	}
	for writer := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := name("resp", writer, i)
				say(s.Put(ctx, &Response{ID: id, Tenant: "a", Body: make([]byte, 3000)}), id)
				id = name("once", writer, i)
				_, err := s.Once(ctx, id, time.Now().Add(time.Hour))
				say(err, id)
			}
		}()
		go func() {
			for i := 0; ; i++ {
				k := newKey(name("key", writer, i), "a")
				say(s.AddKey(ctx, k, true, Entry{Action: "add", Target: k.ID}), k.ID)
				say(s.RevokeKey(ctx, k.ID, Entry{Action: "revoke", Target: k.ID}), "revoked "+k.ID)
				s.Record(Entry{Kind: Operation, Action: "told", Target: k.ID})
				say(s.Flush(ctx), "told "+k.ID)
			}
		}()
	}
	select {}
}
