package state

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stocked is what is counted in some scopes, each as scope/unit.
func stocked(t *testing.T, s *Store, scopes ...string) map[string]int64 {
	t.Helper()
	list, err := s.CountStock(t.Context(), scopes)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]int64{}
	for _, one := range list {
		m[one.Scope+"/"+one.Unit] = one.N
	}
	if len(m) != len(list) {
		t.Errorf("something is counted twice: %v", list)
	}
	return m
}

func TestStock(t *testing.T) { both(t, testStock) }

func testStock(t *testing.T, url string) {
	type list = []Stocked
	s := opened(t, url)
	for i, step := range []struct {
		list list
		full int
		have int64
		want string
	}{
		{list{}, -1, 0, "map[]"},
		{list{{"key", "docs", 2, 3}, {"all", "docs", 2, 0}, {"all", "vecs", 70, 100}}, -1, 0, "map[all/docs:2 all/vecs:70 key/docs:2]"},
		{list{{"all", "docs", 1, 0}, {"key", "docs", 2, 3}}, 1, 2, "map[all/docs:2 all/vecs:70 key/docs:2]"},
		{list{{"key", "docs", 1, 3}, {"all", "vecs", 31, 100}}, 1, 70, "map[all/docs:2 all/vecs:70 key/docs:2]"},
		{list{{"key", "docs", 1, 3}, {"all", "vecs", 30, 100}}, -1, 0, "map[all/docs:2 all/vecs:100 key/docs:3]"},
		// A limit that is lower than what there is refuses more, of any number, and takes nothing away.
		{list{{"all", "vecs", 1, 10}}, 0, 100, "map[all/docs:2 all/vecs:100 key/docs:3]"},
		{list{{"all", "vecs", 0, 10}, {"all", "vecs", -1, 10}}, -1, 0, "map[all/docs:2 all/vecs:99 key/docs:3]"},
		// The same one twice counts as such.
		{list{{"key", "docs", 3, 8}, {"key", "docs", 3, 8}}, 1, 6, "map[all/docs:2 all/vecs:99 key/docs:3]"},
		{list{{"key", "docs", 3, 9}, {"key", "docs", 3, 9}}, -1, 0, "map[all/docs:2 all/vecs:99 key/docs:9]"},
		// What is taken away leaves no debt.
		{list{{"key", "docs", -10, 9}, {"all", "docs", -2, 0}, {"new", "docs", -5, 0}}, -1, 0, "map[all/vecs:99]"},
		{list{{"key", "docs", -7, 0}, {"key", "docs", 1, 1}}, -1, 0, "map[all/vecs:99 key/docs:1]"},
		{list{{"all", "docs", mostStocked, 0}, {"all", "docs", mostStocked, 0}}, -1, 0, "map[all/docs:2199023255552 all/vecs:99 key/docs:1]"},
	} {
		full, have, err := s.AddStock(t.Context(), step.list)
		if err != nil || full != step.full || have != step.have {
			t.Errorf("step %d: %d %d %v, want %d %d", i, full, have, err, step.full, step.have)
		}
		if got := fmt.Sprint(stocked(t, s, "key", "all", "new", "key")); got != step.want {
			t.Fatalf("step %d: %s, want %s", i, got, step.want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(stocked(t, opened(t, url), "key")); got != "map[key/docs:1]" {
		t.Errorf("after a restart: %s", got)
	}
}

func TestStockRefusesNonsense(t *testing.T) { both(t, testStockRefusesNonsense) }

func testStockRefusesNonsense(t *testing.T, url string) {
	s := opened(t, url)
	for _, bad := range []Stocked{{"", "docs", 1, 0}, {"all", "", 1, 0}, {"a\x00", "docs", 1, 0}, {"all", "\xff", 1, 0},
		{"all", "docs", mostStocked + 1, 0}, {"all", "docs", -mostStocked - 1, 0}} {
		if _, _, err := s.AddStock(t.Context(), []Stocked{{"all", "docs", 1, 0}, bad}); err == nil {
			t.Errorf("%+v: taken", bad)
		}
	}
	if _, err := s.CountStock(t.Context(), []string{"a\x00"}); err == nil {
		t.Error("read")
	}
	if got := stocked(t, s, "all"); len(got) > 0 {
		t.Errorf("%v is counted", got)
	}
}

// More scopes than one query asks for.
func TestStockOfMany(t *testing.T) { both(t, testStockOfMany) }

func testStockOfMany(t *testing.T, url string) {
	s := opened(t, url)
	var list []Stocked
	var scopes []string
	for i := range 2*mostAsked + 1 {
		scopes = append(scopes, fmt.Sprint("key", i))
		list = append(list, Stocked{Scope: scopes[i], Unit: "docs", N: int64(i + 1)})
	}
	for _, part := range [][]Stocked{list[:mostAsked], list[mostAsked : 2*mostAsked], list[2*mostAsked:]} {
		if full, _, err := s.AddStock(t.Context(), part); full >= 0 || err != nil {
			t.Fatal(full, err)
		}
	}
	got := stocked(t, s, scopes...)
	for i := range list {
		if n := got[fmt.Sprintf("key%d/docs", i)]; n != int64(i+1) {
			t.Errorf("%d in key%d", n, i)
		}
	}
}

// Fifty at once, of two gateways, for twenty places: twenty get one each, whatever else is counted beside.
func TestStockRace(t *testing.T) { both(t, testStockRace) }

func testStockRace(t *testing.T, url string) {
	const most, askers, rounds = 20, 50, 3
	stores := []*Store{opened(t, url), opened(t, url)}
	for round := range rounds {
		key, team := fmt.Sprint("key", round), fmt.Sprint("team", round)
		var got, refused atomic.Int64
		var wg sync.WaitGroup
		for i := range askers {
			s := stores[i%len(stores)]
			wg.Go(func() {
				list := []Stocked{{"all", "docs", 1, 0}, {key, "docs", 1, most}, {team, "vecs", 3, 1000}}
				if i%2 == 0 { // two who want the same in another order do not lock each other up
					list[0], list[2] = list[2], list[0]
				}
				var full int
				err := insist(s, func() (err error) {
					full, _, err = s.AddStock(t.Context(), list)
					return err
				})
				switch {
				case err != nil:
					t.Error(err)
				case full == 1:
					refused.Add(1)
				case full < 0:
					got.Add(1)
				default:
					t.Errorf("%d is full", full)
				}
			})
		}
		wg.Wait()
		if got.Load() != most || refused.Load() != askers-most {
			t.Errorf("%d got a place of %d, %d were refused", got.Load(), most, refused.Load())
		}
		want := map[string]int64{"all/docs": int64(most * (round + 1)), key + "/docs": most, team + "/vecs": 3 * most}
		for i, s := range stores {
			if there := stocked(t, s, "all", key, team); !maps.Equal(there, want) {
				t.Errorf("gateway %d: %v, want %v", i, there, want)
			}
		}
	}
}

// Whatever several do at once, the counts are those of what was let in, and no limit is ever passed.
func TestStockAddsUp(t *testing.T) { both(t, testStockAddsUp) }

func testStockAddsUp(t *testing.T, url string) {
	const workers, turns, most = 4, 60, 40
	stores := []*Store{opened(t, url), opened(t, url)}
	scopes := []string{"a", "b", "all"}
	var mine [workers]map[string]int64
	var full atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		mine[w] = map[string]int64{}
		wg.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(w)))
			for range turns {
				s, scope, n := stores[random.IntN(2)], scopes[random.IntN(2)], 1+random.Int64N(9)
				if mine[w][scope+"/docs"] >= n && random.IntN(3) == 0 {
					n = -n
				}
				list := []Stocked{{scope, "docs", n, most}, {"all", "docs", n, most + most/2}}
				var over int
				err := insist(s, func() (err error) {
					over, _, err = s.AddStock(t.Context(), list)
					return err
				})
				switch {
				case err != nil:
					t.Error(err)
					return
				case over >= 0:
					full.Add(1)
				default:
					mine[w][scope+"/docs"] += n
					mine[w]["all/docs"] += n
				}
				there, err := s.CountStock(t.Context(), []string{scope, "all"})
				if err != nil {
					t.Error(err)
				}
				for _, one := range there {
					if one.N > most && one.Scope != "all" || one.N > most+most/2 {
						t.Errorf("%+v is more than there may be", one)
					}
				}
			}
		})
	}
	wg.Wait()
	want := map[string]int64{}
	for _, m := range mine {
		for at, n := range m {
			if want[at] += n; want[at] == 0 {
				delete(want, at)
			}
		}
	}
	if there := stocked(t, stores[0], scopes...); !maps.Equal(there, want) || full.Load() == 0 {
		t.Errorf("%v, want %v; %d were refused", there, want, full.Load())
	}
}

// Who has left before it was his turn has nothing counted.
func TestStockOfOneWhoLeft(t *testing.T) {
	s := opened(t, "sqlite:"+file(t))
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, _, err := s.AddStock(left, []Stocked{{"all", "docs", 1, 0}}); err == nil {
		t.Error("counted")
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := stocked(t, s, "all"); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

// What was counted is there after kill -9, all scopes of it or none.
func TestStockOutlivesAKill(t *testing.T) {
	if url := os.Getenv("STOCK_KILLED"); url != "" {
		stockUntilKilled(url)
	}
	both(t, testStockOutlivesAKill)
}

const stockers = 4

func testStockOutlivesAKill(t *testing.T, url string) {
	child := exec.Command(os.Args[0], "-test.run", "^TestStockOutlivesAKill$")
	child.Env = append(os.Environ(), "STOCK_KILLED="+url)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := int64(0)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) != "one more" {
			t.Fatal(lines.Text())
		}
		if done++; done == 100 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait()
	if done < 100 {
		t.Fatalf("only %d were counted", done)
	}
	s := opened(t, url)
	var there map[string]int64
	// The server may still be at the last transaction of a client that is gone.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if there = stocked(t, s, "key", "all"); there["key/docs"] >= done || time.Now().After(deadline) {
			break
		}
	}
	n := there["key/docs"]
	if n < done || n > done+stockers || there["all/docs"] != n || there["all/vecs"] != 3*n {
		t.Errorf("%v after %d were told", there, done)
	}
}

func stockUntilKilled(url string) {
	s, err := Open(context.Background(), url)
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	for range stockers {
		go func() {
			for {
				full, _, err := s.AddStock(context.Background(), []Stocked{{"key", "docs", 1, 1 << 30}, {"all", "docs", 1, 0}, {"all", "vecs", 3, 0}})
				if full >= 0 || err != nil {
					panic(fmt.Sprint(full, err))
				}
				mu.Lock()
				fmt.Println("one more")
				mu.Unlock()
			}
		}()
	}
	select {}
}
