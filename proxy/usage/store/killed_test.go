package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"jarvis-gateway/bench/chdb"
	"jarvis-gateway/proxy/usage"
)

const (
	killedURL  = "STORE_KILLED"
	killedTime = "STORE_TIME"
)

// batchOf is the n-th batch that is written until somebody is killed.
func batchOf(n int, at time.Time) (token string, list []*usage.Record) {
	return fmt.Sprint("batch ", n), records(20*n, 20, at)
}

// A gateway that is killed while it writes, and another that does its last batch again: nothing is lost, nothing is there twice.
func TestGatewayKilled(t *testing.T) {
	if url := os.Getenv(killedURL); url != "" {
		writeUntilKilled(url)
	}
	both(t, testGatewayKilled)
}

func testGatewayKilled(t *testing.T, url string) {
	s := opened(t, url, Options{})
	done, all := 0, []*usage.Record(nil)
	for range 3 {
		done += killedAfter(t, 5, url, done)
		for range 2 { // it may have got this far, and no word of it
			token, list := batchOf(done, noon)
			write(t, s, token, list)
		}
		done++
	}
	for n := range done {
		_, list := batchOf(n, noon)
		all = append(all, list...)
	}
	s.expect(t, 0, all)
}

// killedAfter is how many batches a process says it has written before it is killed, n or a few more.
func killedAfter(t *testing.T, n int, url string, from int) (done int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that writes nothing is killed too
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestGatewayKilled$")
	child.Env = append(os.Environ(), killedURL+"="+url, "STORE_FROM="+strconv.Itoa(from), killedTime+"="+noon.Format(time.RFC3339Nano))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if done++; done == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if done < n {
		t.Fatalf("only %d batches were written", done)
	}
	return done
}

func writeUntilKilled(url string) {
	ctx := context.Background()
	s, err := Open(ctx, url, Options{})
	if err != nil {
		panic(err)
	}
	at, err := time.Parse(time.RFC3339Nano, os.Getenv(killedTime))
	if err != nil {
		panic(err)
	}
	from, _ := strconv.Atoi(os.Getenv("STORE_FROM"))
	for n := from; ; n++ {
		token, list := batchOf(n, at)
		if err := s.Write(ctx, token, list, nil); err != nil {
			panic(err)
		}
		fmt.Println(n)
	}
}

// ClickHouse is killed while a gateway writes, which goes on with the batch that failed when it is back.
func TestClickHouseKilled(t *testing.T) {
	dir := t.TempDir()
	server := chdb.StartAt(t, dir)
	s := opened(t, server.URL+"killed", Options{})
	var all []*usage.Record
	n := 0
	for round := range 4 {
		if round > 0 {
			_ = s.Close()
			server = chdb.StartAt(t, dir)
			s = opened(t, server.URL+"killed", Options{})
		}
		for written := 0; ; written++ {
			if written == 3 && round < 3 { // while the next one is on its way
				time.AfterFunc(time.Duration(round)*7*time.Millisecond, server.Kill)
			}
			token, list := batchOf(n, noon)
			if err := s.Write(t.Context(), token, list, nil); err != nil {
				break
			}
			all = append(all, list...)
			if n++; round == 3 && written == 3 {
				s.expect(t, 0, all)
				return
			}
		}
	}
}
