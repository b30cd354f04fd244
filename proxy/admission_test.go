package proxy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// How a client is told when a limit is free again is how Go writes durations, which is OpenAI's way too.
func TestReset(t *testing.T) {
	const ms = time.Millisecond
	list := []time.Duration{0, ms / 2, ms/2 - 1, ms, 12 * ms, 999 * ms, time.Second - 1, time.Second, 1500 * ms, 1050 * ms, 1005 * ms, time.Minute - ms/2, time.Minute,
		time.Minute + ms, 6 * time.Minute, time.Hour - 1, time.Hour, time.Hour + 10*ms, 100*time.Hour + 59*time.Minute, 31 * 24 * time.Hour}
	for range 10_000 {
		list = append(list, time.Duration(rand.Int64N(1<<(1+rand.IntN(58)))))
	}
	for _, d := range list {
		if got, want := string(appendReset([]byte("x"), d)), "x"+d.Round(ms).String(); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
	if got := string(appendReset(nil, math.MaxInt64)); got != "2562047h47m16.854s" {
		t.Errorf("for ever is %s", got)
	}
}
