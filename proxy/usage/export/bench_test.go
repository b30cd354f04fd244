package export

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// BenchmarkRun exports a day of 200 000 requests with one attempt each. It tells rows a second, bytes a row, and how much memory
// the process holds at most.
func BenchmarkRun(b *testing.B) {
	const size, batches = 10_000, 20
	for _, url := range []string{"sqlite:" + b.TempDir() + "/usage.db", "clickhouse"} {
		name := url[:6]
		if url == "clickhouse" {
			url = emptyHouse(b)
		}
		s := opened(b, url)
		from := today.Add(-2 * lasts)
		for n := range batches {
			list := make([]*usage.Record, size)
			for i := range list {
				at := from.Add(time.Duration(n*size+i) * 400 * time.Millisecond)
				list[i] = record(i, at)
				list[i].UID, list[i].ID = usage.NewUID(at), fmt.Sprint("req_", n, "_", i)
				list[i].Usage.Prompt, list[i].Cost = int64(i*7919%5000), wire.Money(i*104729%1_000_000_000)
				list[i].Content, list[i].Attempts = usage.Content{}, list[i].Attempts[:1]
			}
			write(b, s, list)
		}
		for _, format := range []string{"parquet", "jsonl"} {
			b.Run(name+"/"+format, func(b *testing.B) {
				var rows, bytes int64
				var peak atomic.Uint64
				quit := make(chan struct{})
				go func() {
					for {
						select {
						case <-quit:
							return
						case <-time.After(20 * time.Millisecond):
							var m runtime.MemStats
							runtime.ReadMemStats(&m)
							peak.Store(max(peak.Load(), m.HeapInuse))
						}
					}
				}()
				for b.Loop() {
					sum := run(b, s, Options{To: b.TempDir(), Format: format, Tables: []string{"requests"}, now: today})
					rows += sum.Rows
					bytes += sum.Bytes
				}
				close(quit)
				b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(bytes)/float64(rows), "B/row")
				b.ReportMetric(float64(peak.Load())/(1<<20), "MB")
			})
		}
	}
}
