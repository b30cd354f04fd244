//go:build unix

package store

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
)

// BenchmarkAsk asks SQLite for 200 000 requests of a month, of which 50 000 have tags, and tells what that takes of the processors.
func BenchmarkAsk(b *testing.B) {
	const days = 30
	s := opened(b, "sqlite:"+b.TempDir()+"/usage.db", Options{})
	random := rand.New(rand.NewPCG(1, 2))
	var feedback []*usage.Feedback
	for batch := range 20 {
		var list []*usage.Record
		for i := range 10_000 {
			r := usualRecord(i)
			at := askNoon.Add(time.Duration(float64(batch*10_000+i) / 200_000 * days * 24 * float64(time.Hour)))
			r.UID, r.Time, r.ID = usage.NewUID(at), at.Truncate(time.Microsecond), fmt.Sprint("req_", batch, "_", i)
			r.Total, r.Stream, r.Interrupted = time.Duration(random.IntN(1e6))*time.Microsecond, i%2 == 0, false
			r.First = r.Total / 3
			if i%4 == 0 {
				r.Tags = []string{fmt.Sprint("tag", i%50), "common"}
			}
			if i%100 == 0 {
				feedback = append(feedback, &usage.Feedback{UID: usage.NewUID(at), Time: at, Request: r.ID, Of: r.UID, Tenant: r.Tenant, Score: 1})
			}
			list = append(list, r)
		}
		write(b, s, fmt.Sprint(batch), list, feedback...)
		feedback = nil
	}
	for _, by := range []string{"", "scene", "tag", "user", "day", "tenant,model,hour", "tag,user"} {
		b.Run("by="+by, func(b *testing.B) {
			q := Question{Since: askNoon, Until: askNoon.Add(days * 24 * time.Hour), Limit: 10_000}
			if by != "" {
				q.By = strings.Split(by, ",")
			}
			least := time.Hour
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			n := uint64(0)
			for b.Loop() {
				begin := ownCPU()
				a, err := s.Ask(b.Context(), q)
				if err != nil || a.Total.Requests != 200_000 {
					b.Fatal(a, err)
				}
				least = min(least, ownCPU()-begin)
				n++
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(least.Seconds(), "least-cpu-s")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(n)/(1<<20), "MB/answer")
		})
	}
	b.Run("id", func(b *testing.B) {
		for b.Loop() {
			if list, _, err := s.Requests(b.Context(), Listing{Question: Question{Since: askNoon, Until: askNoon.Add(days * 24 * time.Hour)}, ID: "req_7_1234"}); err != nil || len(list) != 1 {
				b.Fatal(len(list), err)
			}
		}
	})
}
