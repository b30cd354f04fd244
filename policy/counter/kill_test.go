package counter_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

const childURL, childLedger = "COUNTER_TEST_URL", "COUNTER_TEST_LEDGER"

// TestMain lets the test's binary be the process that is killed.
func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		child(url, os.Getenv(childLedger))
		return
	}
	os.Exit(m.Run())
}

var killed = counter.Spec{Name: "budget", Algorithm: counter.Calendar, Period: counter.Month, Limit: 100_000}

// child takes and settles until the budget is spent for good, and says what it is about to count, and that it did.
func child(url, ledger string) {
	c, err := counter.Open(counter.Options{URL: url, OnError: "closed", Ledger: ledger})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	k := c.Get(killed)
	refused := 0
	for last := time.Now(); time.Since(last) < 3*time.Second || refused < 150; {
		held := 1 + rand.Int64N(50)
		if s, ok := c.Take([]counter.Need{{Counter: k, N: held}}); !ok {
			refused++
			time.Sleep(min(max(s.Retry, time.Millisecond), 20*time.Millisecond))
			continue
		}
		last, refused = time.Now(), 0
		used := rand.Int64N(held + 1)
		fmt.Println("try", used)
		k.Settle(held, used)
		fmt.Println("did", used)
		time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
	}
	if err := c.Close(); err != nil {
		fmt.Println("failed", err)
	}
	fmt.Println("end 0")
}

// run runs a child, kills it a while after it has begun (0: never), and returns what it surely counted, and what may be counted as well.
func run(t *testing.T, url, ledger string, life time.Duration) (sure, maybe int64, ended bool) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+url, childLedger+"="+ledger)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0, 0, true
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		what, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil:
			t.Error(lines.Text())
		case what == "try":
			maybe = n
		case what == "did":
			if sure, maybe = sure+n, 0; life > 0 {
				defer time.AfterFunc(life, func() { _ = cmd.Process.Kill() }).Stop()
				life = 0
			}
		default:
			ended = true
		}
	}
	_ = cmd.Wait()
	return sure, maybe, ended
}

func TestKillAlone(t *testing.T) {
	ledger := filepath.Join(t.TempDir(), "ledger")
	var sure, most int64
	for range 6 {
		s, m, _ := run(t, "memory", ledger, 400*time.Millisecond)
		sure, most = sure+s, most+s+m
	}
	if sure == 0 {
		t.Fatal("the processes did nothing before they were killed")
	}
	c := open(t, counter.Options{Ledger: ledger})
	if used := c.Get(killed).State().Used; used < sure || used > most {
		t.Errorf("%d used, want %d to %d", used, sure, most)
	}
}

// TestKillReplicas kills four processes that share a budget again and again, and lets them finish.
func TestKillReplicas(t *testing.T) {
	url := "redis://" + startRedis(t) + "/0"
	var mu sync.Mutex
	var sure, most int64
	var wg sync.WaitGroup
	for i := range 4 {
		ledger := filepath.Join(t.TempDir(), "ledger")
		wg.Go(func() {
			for life := range 100 {
				d := time.Duration(300+150*i) * time.Millisecond
				if life > 3 {
					d = 0
				}
				s, m, ended := run(t, url, ledger, d)
				mu.Lock()
				sure, most = sure+s, most+s+m
				mu.Unlock()
				if ended {
					return
				}
			}
		})
	}
	wg.Wait()
	c := open(t, counter.Options{URL: url})
	k := c.Get(killed)
	nudge(c, k)
	used := k.State().Used
	t.Logf("%d used, %d to %d counted", used, sure, most)
	if used < sure || used > most || used > killed.Limit {
		t.Errorf("%d used, want %d to %d, at most %d", used, sure, most, killed.Limit)
	}
	if used < killed.Limit*9/10 {
		t.Errorf("%d used of %d", used, killed.Limit)
	}
}
