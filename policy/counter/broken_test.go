package counter_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"jarvis-gateway/policy/counter"
)

// TestOneBrokenCounter: a counter whose key is someone else's fails alone, and counts when the key is gone.
func TestOneBrokenCounter(t *testing.T) {
	bubble(t, oneBrokenCounter)
}

func oneBrokenCounter(t *testing.T, w *wire) {
	client := redis.NewClient(&redis.Options{Addr: w.addr})
	defer client.Close()
	var events told
	c := w.open(t, counter.Options{OnError: "local_share", OnEvent: events.event})
	spec := counter.Spec{Name: "tenant/acme/broken", Algorithm: counter.Level, Limit: 10}
	k := c.Get(spec)
	place := []counter.Need{{Counter: k, N: 1}}
	if _, ok := c.Take(place); !ok {
		t.Fatal("a new counter has no place")
	}
	keys, _ := client.Keys(context.Background(), "*leases").Result()
	if len(keys) != 1 {
		t.Fatal(keys)
	}
	client.Del(context.Background(), keys[0])
	client.Set(context.Background(), keys[0], "someone's", 0)
	await(t, "the event", func() bool { return strings.Contains(events.all(), "counters_broken") })
	other := c.Get(hourly(1 << 40))
	for range 200 {
		if s, ok := c.Take([]counter.Need{{Counter: k, N: 5}}); ok || !s.Unavailable {
			t.Fatalf("%+v, %t", s, ok)
		}
		if s, ok := c.Take(one(other, 1)); !ok {
			t.Fatalf("another counter: %+v", s)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if s := c.Stats(); s.Degraded || s.Errors > 0 {
		t.Errorf("%+v", s)
	}
	if got := events.all(); got != "counters_broken" {
		t.Errorf("events %q", got)
	}
	client.Del(context.Background(), keys[0])
	await(t, "it counts again", func() bool { _, ok := c.Take(place); return ok })
}
