package proxy

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/ragplug"
)

// Corpora are those that are in force, which gauges are read from: one that goes takes its series along.
var Corpora atomic.Pointer[map[string]*ragplug.Corpus]

var (
	retrievalsDone  = newCounter("jarvis_rag_retrievals_total", "Requests for which passages were looked for, by the entry of `models` that was asked for, and whether any were found.", "corpus", "model", "result")
	retrievalTime   = newRetrievalTime()
	passagesAdded   = newCounter("jarvis_rag_passages_total", "Passages that requests got.", "corpus")
	passagesTokens  = newCounter("jarvis_rag_tokens_total", "Tokens that passages added to requests, with the words around them, estimated.", "corpus")
	_               = corporaMetrics()
	retrievalLevels = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25}
)

func newRetrievalTime() *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "jarvis_rag_retrieval_seconds", Help: "Time that it took to find passages and put them into a request.",
		Buckets: retrievalLevels, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}, []string{"corpus"})
	Metrics.MustRegister(h)
	return h
}

// retrievals are the series of one model's retrievals.
type retrievals struct {
	found, nothing, passages, tokens prometheus.Counter
	took                             prometheus.Observer
}

func newRetrievals(corpus, model string) *retrievals {
	return &retrievals{
		found: retrievalsDone.WithLabelValues(corpus, model, "found"), nothing: retrievalsDone.WithLabelValues(corpus, model, "nothing"),
		passages: passagesAdded.WithLabelValues(corpus), tokens: passagesTokens.WithLabelValues(corpus), took: retrievalTime.WithLabelValues(corpus),
	}
}

func (m *retrievals) count(f *ragplug.Found, took time.Duration) {
	m.took.Observe(took.Seconds())
	if len(f.Passages) == 0 {
		m.nothing.Inc()
		return
	}
	m.found.Inc()
	m.passages.Add(float64(len(f.Passages)))
	m.tokens.Add(float64(f.Tokens))
}

// corpusGauge is one number of each corpus in force.
type corpusGauge struct {
	desc *prometheus.Desc
	read func(ragplug.Stats) int64
}

func corporaMetrics() bool {
	for _, m := range []struct {
		name, help string
		read       func(ragplug.Stats) int64
	}{
		{"jarvis_rag_documents", "Documents of a corpus.", func(s ragplug.Stats) int64 { return int64(s.Documents) }},
		{"jarvis_rag_indexed_passages", "Passages that the documents of a corpus were cut into.", func(s ragplug.Stats) int64 { return int64(s.Passages) }},
		{"jarvis_rag_index_bytes", "Memory that the index of a corpus takes, about, without the documents.", func(s ragplug.Stats) int64 { return s.Index }},
	} {
		Metrics.MustRegister(corpusGauge{prometheus.NewDesc(m.name, m.help, []string{"corpus"}, nil), m.read})
	}
	return true
}

// Describe lists what there is.
func (g corpusGauge) Describe(to chan<- *prometheus.Desc) { to <- g.desc }

// Collect reads it.
func (g corpusGauge) Collect(to chan<- prometheus.Metric) {
	all := Corpora.Load()
	if all == nil {
		return
	}
	for name, c := range *all {
		to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.read(c.Stats())), name)
	}
}
