package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/proxy/wire"
)

// money is a sum of nano-dollars. A float that grew by a millionth of a dollar a million times a day would drift from the bill.
type money struct {
	nano   atomic.Int64
	labels []string
}

// add counts a cost.
func (m *money) add(cost wire.Money) {
	if cost > 0 {
		m.nano.Add(int64(cost))
	}
}

// moneyVec is a counter of dollars by labels, summed in whole nano-dollars.
type moneyVec struct {
	desc *prometheus.Desc
	less int // labels than three
	mu   sync.Mutex
	sums map[[3]string]*money
}

func newMoney(name, help string, labels ...string) *moneyVec {
	v := &moneyVec{desc: prometheus.NewDesc(name, help, labels, nil), less: 3 - len(labels), sums: map[[3]string]*money{}}
	Metrics.MustRegister(v)
	return v
}

// of is the sum for these labels, as many of them as there are.
func (v *moneyVec) of(first, second, third string) *money {
	key := [3]string{first, second, third}
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.sums[key]
	if m == nil {
		m = &money{labels: key[:3-v.less]}
		v.sums[key] = m
	}
	return m
}

// Describe lists what there is.
func (v *moneyVec) Describe(to chan<- *prometheus.Desc) { to <- v.desc }

// Collect reads it.
func (v *moneyVec) Collect(to chan<- prometheus.Metric) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.sums {
		to <- prometheus.MustNewConstMetric(v.desc, prometheus.CounterValue, float64(m.nano.Load())/1e9, m.labels...)
	}
}
