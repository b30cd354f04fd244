package counter_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"jarvis-gateway/policy/counter"
)

// chaos is replicas that crash, whose replies get lost, and that are cut off for a while, at work on a few limits.
type chaos struct {
	*testing.T
	addr    string
	specs   []counter.Spec
	settled []atomic.Int64 // what was counted, by limit
	met     atomic.Int64
	refused atomic.Int64 // since when no Take was met, in unix nanoseconds
	done    atomic.Bool
	clock   *steady
}

// steady is a clock for Redis that stands still while the machine has no time for the test: the leases of those who had none
// to report must not end for that.
type steady struct {
	behind atomic.Int64
}

func newSteady(t *testing.T) *steady {
	s, stop := &steady{}, make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			now := time.Now()
			s.behind.Add(int64(max(0, now.Sub(last)-50*time.Millisecond)))
			last = now
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
	return s
}

func (s *steady) now() time.Time { return time.Now().Add(-time.Duration(s.behind.Load())) }

// replica is one process, which may crash and start anew on the same disk.
type replica struct {
	*chaos
	link   *link
	ledger string
	mu     sync.RWMutex // held for reading by whoever uses c: nothing happens at a process that is dead
	c      *counter.Counters
	ks     []*counter.Counter
	life   int
}

func (r *replica) start() {
	c, err := counter.OpenWith(counter.Options{URL: r.link.url(), OnError: "closed", Ledger: r.ledger}, counter.Tuning{Lease: 2 * time.Second, Hold: 4 * time.Second, RedisNow: r.clock.now})
	if err != nil {
		r.Error(err)
		return
	}
	r.c, r.ks = c, nil
	for _, s := range r.specs {
		r.ks = append(r.ks, c.Get(s))
	}
	r.life++
}

func (r *replica) crash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.c.Crash()
	r.start()
}

// work takes of all limits at once, and settles what was held with something else.
func (r *replica) work(rnd *rand.Rand) {
	needs := make([]counter.Need, len(r.specs))
	for !r.done.Load() {
		r.mu.RLock()
		life := r.life
		for i := range needs {
			needs[i] = counter.Need{Counter: r.ks[i], N: 1 + rnd.Int64N(40)}
		}
		needs[0].N, needs[0].Spend = 1, true
		_, ok := r.c.Take(needs)
		if ok {
			r.settled[0].Add(1)
			r.met.Add(1)
			r.refused.Store(r.clock.now().UnixNano())
		}
		r.mu.RUnlock()
		time.Sleep(time.Duration(rnd.Int64N(int64(4 * time.Millisecond))))
		if !ok {
			continue
		}
		r.mu.RLock()
		if life == r.life { // else it died with the process
			for i := 1; i < len(needs); i++ {
				used := rnd.Int64N(needs[i].N + 1)
				needs[i].Counter.Settle(needs[i].N, used)
				r.settled[i].Add(used)
			}
		}
		r.mu.RUnlock()
	}
}

// trouble makes trouble until there is an end to it.
func (r *replica) trouble(rnd *rand.Rand, end time.Time) {
	for time.Now().Before(end) {
		time.Sleep(time.Duration(rnd.Int64N(int64(400 * time.Millisecond))))
		switch rnd.IntN(5) {
		case 0:
			r.crash()
		case 1:
			r.link.lost.Store(true)
			time.Sleep(time.Duration(rnd.Int64N(int64(200 * time.Millisecond))))
			r.link.lost.Store(false)
		case 2:
			r.link.sever(true)
			time.Sleep(time.Duration(rnd.Int64N(int64(800 * time.Millisecond))))
			r.link.sever(false)
		case 3:
			r.link.delay.Store(rnd.Int64N(int64(100 * time.Millisecond)))
			time.Sleep(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
			r.link.delay.Store(0)
		}
	}
}

// TestChaos: whatever happens, no limit is passed, nearly all of it can be used, and in the end the counts are right.
func TestChaos(t *testing.T) {
	addr := startRedis(t)
	x := &chaos{T: t, addr: addr, clock: newSteady(t), specs: []counter.Spec{
		{Name: "requests", Algorithm: counter.Sliding, Limit: 1 << 40, Window: time.Hour},
		{Name: "tokens", Algorithm: counter.Sliding, Limit: 240_000, Window: time.Hour},
		{Name: "spend", Algorithm: counter.Calendar, Limit: 160_000, Period: counter.Month},
	}}
	x.settled = make([]atomic.Int64, len(x.specs))
	x.refused.Store(x.clock.now().UnixNano())
	var replicas []*replica
	var wg, trouble sync.WaitGroup
	end := time.Now().Add(8 * time.Second)
	for i := range 4 {
		r := &replica{chaos: x, link: newLink(t, addr), ledger: t.TempDir() + "/ledger"}
		r.start()
		replicas = append(replicas, r)
		for j := range 6 {
			wg.Go(func() { r.work(rand.New(rand.NewPCG(uint64(i), uint64(j)))) })
		}
		trouble.Go(func() { r.trouble(rand.New(rand.NewPCG(uint64(i), 99)), end) })
	}
	trouble.Wait()
	x.refused.Store(x.clock.now().UnixNano()) // the leases of the last that crashed have to end
	for limit := x.clock.now().Add(2 * patience); x.clock.now().Before(limit); time.Sleep(50 * time.Millisecond) {
		if x.clock.now().Sub(time.Unix(0, x.refused.Load())) > 6*time.Second {
			break
		}
	}
	x.done.Store(true)
	wg.Wait()
	for _, r := range replicas {
		r.c.Close()
	}
	x.check()
}

// check compares Redis with what was counted.
func (x *chaos) check() {
	client := redis.NewClient(&redis.Options{Addr: x.addr})
	defer client.Close()
	ctx := context.Background()
	for i, s := range x.specs {
		settled := x.settled[i].Load()
		x.Logf("%s: %d of %d used, %d requests", s.Name, settled, s.Limit, x.met.Load())
		if settled > s.Limit {
			x.Errorf("%s: %d used, limit %d", s.Name, settled, s.Limit)
		}
		keys, err := client.Keys(ctx, "*{"+s.Name+"/*").Result()
		if err != nil || len(keys) != 2 {
			x.Fatalf("%v, %v", keys, err)
		}
		for _, key := range keys {
			fields := client.HGetAll(ctx, key).Val()
			if strings.HasSuffix(key, "used") {
				if used, _ := strconv.ParseInt(fields["u"], 10, 64); used != settled {
					x.Errorf("%s: Redis says %d used, and %d were", s.Name, used, settled)
				}
				continue
			}
			for id, lease := range fields {
				if f := strings.Fields(lease); f[2] != "0" {
					x.Errorf("%s: lease %s still has %s", s.Name, id, lease)
				}
			}
		}
	}
	if spent, limit := x.settled[2].Load(), x.specs[2].Limit; spent < limit*9/10 {
		x.Errorf("%d of %d could be used", spent, limit)
	}
}
