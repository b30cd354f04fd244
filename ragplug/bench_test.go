package ragplug

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// many is a set's documents so many times, under other names, each with words of its own, lest they count as the same text.
func many(b *testing.B, set string, times int) *Corpus {
	c := &Corpus{Name: "many"}
	for _, d := range documents(b, set) {
		for i := range times {
			c.documents = append(c.documents, document{name: fmt.Sprintf("%d/%s", i, d.name), text: d.text + fmt.Sprintf(" copy%d", i)})
		}
	}
	c.stamp()
	return c
}

func BenchmarkBuild(b *testing.B) {
	for _, set := range []string{"cranfield", "cmrc2018-zh"} {
		b.Run(set, func(b *testing.B) {
			c := many(b, set, 4)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				c.passages, c.index, c.stats = nil, nil, Stats{}
				c.build()
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			mib := float64(c.stats.Text) / (1 << 20)
			b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N)/mib, "ms/MiB")
			b.ReportMetric(float64(c.stats.Index)/float64(c.stats.Text), "index-bytes/byte")
			b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(c.stats.Text), "heap-bytes/byte")
			runtime.KeepAlive(c)
		})
	}
}

func BenchmarkFind(b *testing.B) {
	for _, row := range []struct {
		set, query string
		times      int
	}{
		{"cranfield", "what similarity laws must be obeyed when constructing aeroelastic models of heated high speed aircraft", 1},
		{"cmrc2018-zh", "《战国无双3》是由哪两个公司合作开发的？", 1},
		{"cranfield", "what similarity laws must be obeyed when constructing aeroelastic models of heated high speed aircraft", 45},
		{"cmrc2018-zh", "《战国无双3》是由哪两个公司合作开发的？", 50},
	} {
		c := many(b, row.set, row.times)
		c.build()
		all := &strings.Builder{}
		for _, d := range c.documents[:min(400, len(c.documents))] {
			all.WriteString(d.text)
		}
		for name, query := range map[string]string{"question": row.query, "prompt of 400 documents": all.String(), "hello": "hello"} {
			b.Run(fmt.Sprintf("%s %d MiB/%s", row.set, c.stats.Text>>20, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					c.Find(query, Limits{Passages: 5, Tokens: 1500})
				}
			})
		}
	}
}
