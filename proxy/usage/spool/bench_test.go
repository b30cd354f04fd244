//go:build unix

package spool_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

var (
	toNowhere  = func(context.Context, string, [][]byte) error { return nil }
	background = context.Background()
)

// cpu is what the process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkLog(b *testing.B, o spool.Options) *spool.Log {
	o.Dir = b.TempDir()
	l, err := spool.Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close(background) })
	l.Ship(toNowhere)
	b.ReportAllocs()
	b.ResetTimer()
	return l
}

// BenchmarkAppend is a request's intent and outcome, while all is shipped to a sink that does nothing.
func BenchmarkAppend(b *testing.B) {
	l := benchmarkLog(b, spool.Options{Sync: -1})
	before := cpu()
	for range b.N {
		request(b, l)
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

func BenchmarkAppendBy8(b *testing.B) {
	l := benchmarkLog(b, spool.Options{Sync: -1})
	before := cpu()
	b.SetParallelism(4)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			request(b, l)
		}
	})
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkSynced has each append wait for the disk, 64 requests at a time.
func BenchmarkSynced(b *testing.B) {
	l := benchmarkLog(b, spool.Options{})
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			request(b, l)
		}
	})
}

// BenchmarkSustained is one second of 20,000 requests, evenly. What it reports is the CPU of that second.
func BenchmarkSustained(b *testing.B) {
	l := benchmarkLog(b, spool.Options{Sync: time.Second, Segment: 8 << 20})
	var got atomic.Int64
	l.Ship(func(_ context.Context, _ string, records [][]byte) error {
		got.Add(int64(len(records)))
		return nil
	})
	before := cpu()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := range 1000 * b.N {
		<-tick.C
		for range 20 {
			request(b, l)
		}
		_ = n
	}
	b.ReportMetric(float64((cpu()-before).Milliseconds())/float64(b.N), "cpu-ms/s")
	b.ReportMetric(float64(got.Load())/float64(b.N), "records/s")
}
