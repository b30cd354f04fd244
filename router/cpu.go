package router

import (
	"math"
	"runtime"
	"time"
)

func (p *cpuMeter) measure(now time.Time) {
	used, err := processTime()
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := now.Sub(p.at); !p.at.IsZero() && d > 0 {
		p.busy.Store(math.Float64bits(float64(used-p.used) / float64(d) / float64(runtime.GOMAXPROCS(0))))
	}
	p.used, p.at = used, now
}
