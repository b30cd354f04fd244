//go:build unix

package store

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// BenchmarkWrite stores batches of 10 000 records with their attempts, of which every twentieth has two. It tells how many a
// second, what that takes of the processors on either side, and how much memory the process holds at most.
func BenchmarkWrite(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchmarkWrite(b, "sqlite:"+b.TempDir()+"/usage.db") })
	for _, compress := range []string{"lz4", "zstd"} {
		b.Run("clickhouse/"+compress, func(b *testing.B) { benchmarkWrite(b, with(emptyHouse(b), "compress="+compress)) })
	}
}

func benchmarkWrite(b *testing.B, url string) {
	const size = 10_000
	s := opened(b, url, Options{})
	list := make([]*usage.Record, size)
	for i := range list {
		list[i] = usualRecord(i)
	}
	var most, now runtime.MemStats
	engine, self, least := engineCPU(b), time.Duration(0), time.Hour
	n := 0
	for b.Loop() {
		for i, r := range list {
			r.UID, r.ID = usage.NewUID(noon), fmt.Sprint("req_", n, "_", i)
			r.Time = noon.Add(time.Duration(n)*time.Second + time.Duration(i)*50*time.Microsecond)
		}
		before := ownCPU()
		write(b, s, fmt.Sprint(n), list)
		took := ownCPU() - before
		self, least = self+took, min(least, took)
		n++
		if runtime.ReadMemStats(&now); now.HeapInuse > most.HeapInuse {
			most = now
		}
	}
	b.ReportMetric(float64(size*n)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric((engineCPU(b)-engine)*1e6/float64(size*n), "engine-us/record")
	b.ReportMetric(self.Seconds()*1e6/float64(size*n), "gateway-us/record")
	b.ReportMetric(least.Seconds()*1e6/size, "least-us/record")
	b.ReportMetric(float64(most.HeapInuse)/(1<<20), "MB")
	if got := s.number(b, `SELECT count(*) FROM requests`); got != int64(size*n) {
		b.Errorf("%d requests, want %d", got, size*n)
	}
}

// usualRecord is one as most are: an answer at the first attempt, of text. Every twentieth took two attempts.
func usualRecord(i int) *usage.Record {
	r := record(i%300, noon)
	r.Similarity, r.Content, r.Code, r.Corpus, r.Flow, r.Rollout, r.Arm, r.Status, r.Gone, r.Interrupted = 0, usage.Content{}, "", "", "", "", "", 200, false, false
	r.Tags, r.Asked, r.Cost = nil, r.Model, 12345
	r.Usage = usage.Usage{Prompt: 1000 + int64(i), Completion: int64(i), Tier: wire.TierStandard}
	first := usage.Attempt{Kind: "first", Provider: r.Provider, Model: r.Served, Replica: r.Replica, Region: r.Region, Result: "ok", Begun: 31 * time.Microsecond,
		First: time.Millisecond, Usage: r.Usage, Cost: r.Cost}
	if r.Attempts = []usage.Attempt{first}; i%20 == 19 {
		r.Attempts = append(r.Attempts, usage.Attempt{Kind: "fallback", Provider: r.Provider, Model: r.Served, Result: "ok", Begun: time.Millisecond})
	}
	return r
}

func engineCPU(b *testing.B) float64 {
	if s, err := house(); err == nil {
		return processCPU(b, s.PID())
	}
	return 0
}

// ownCPU is what this process has used of the processors, its collector's part too.
func ownCPU() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // of itself a process may always know
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// processCPU is what a process has used of the processors, in seconds.
func processCPU(b *testing.B, pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return float64(user+system) / 100
}
