package proxy

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/flows"
)

var (
	flowRuns    = newCounter("jarvis_flow_runs_total", "Flows that ran, by how that ended.", "flow", "outcome")
	flowSeconds = newHistogram("jarvis_flow_run_seconds", "Time that a flow took.", "flow")
	flowSteps   = newCounter("jarvis_flow_steps_total", "Steps of flows, by what they do and how that ended: ok, failed or skipped.", "flow", "step", "kind", "outcome")
	stepSeconds = newHistogram("jarvis_flow_step_seconds", "Time that a step of a flow took.", "flow", "step")
	flowsNow    = newFlowsRunning()
)

// flowsRunning are the flows of the config in force. What is counted of any other, which a run may be of that began before a reload,
// is lost, so that there is no series that a reload has taken away.
type flowsRunning struct {
	desc *prometheus.Desc

	mu      sync.RWMutex // written when the config changes
	known   *flows.Library
	count   sync.Mutex
	running map[string]int // by name
}

func newFlowsRunning() *flowsRunning {
	m := &flowsRunning{desc: prometheus.NewDesc("jarvis_flow_running", "Flows that run at the moment.", []string{"flow"}, nil), running: map[string]int{}}
	Metrics.MustRegister(m)
	return m
}

// Describe lists what there is.
func (m *flowsRunning) Describe(to chan<- *prometheus.Desc) { to <- m.desc }

// Collect reads it.
func (m *flowsRunning) Collect(to chan<- prometheus.Metric) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.count.Lock()
	defer m.count.Unlock()
	for _, name := range m.known.Names() {
		to <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(m.running[name]), name)
	}
}

// swap takes away what the new config no longer has.
func (m *flowsRunning) swap(next *flows.Library) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range m.known.Names() {
		was, is := m.known.Find(name), next.Find(name)
		if is == nil {
			flowRuns.DeletePartialMatch(prometheus.Labels{"flow": name})
			flowSeconds.DeletePartialMatch(prometheus.Labels{"flow": name})
		}
		for _, s := range was.Steps {
			if !holdsStep(is, s) {
				flowSteps.DeletePartialMatch(prometheus.Labels{"flow": name, "step": s.ID})
				stepSeconds.DeletePartialMatch(prometheus.Labels{"flow": name, "step": s.ID})
			}
		}
	}
	m.known = next
	for _, name := range next.Names() {
		flowRuns.WithLabelValues(name, outcomeOK) // what grows to 1 must have been 0 before
	}
}

func holdsStep(f *flows.Flow, step *flows.Step) bool {
	return f != nil && slices.ContainsFunc(f.Steps, func(s *flows.Step) bool { return s.ID == step.ID && s.Kind == step.Kind })
}

// flowBegan counts a flow that runs, until what it returns is called.
func flowBegan(f *flows.Flow) (ended func(err error, took time.Duration)) {
	flowsNow.add(f.Name, 1)
	return func(err error, took time.Duration) {
		flowsNow.add(f.Name, -1)
		flowsNow.mu.RLock()
		defer flowsNow.mu.RUnlock()
		if flowsNow.known.Find(f.Name) == nil {
			return
		}
		outcome := outcomeOK
		if err != nil {
			outcome = outcomeOf(fault(err))
		}
		flowRuns.WithLabelValues(f.Name, outcome).Inc()
		flowSeconds.WithLabelValues(f.Name).Observe(took.Seconds())
	}
}

func (m *flowsRunning) add(name string, n int) {
	m.count.Lock()
	defer m.count.Unlock()
	if m.running[name] += n; m.running[name] == 0 {
		delete(m.running, name)
	}
}

// stepped counts a step that has ended.
func stepped(f *flows.Flow, s *flows.Step, outcome flows.Outcome, took time.Duration) {
	flowsNow.mu.RLock()
	defer flowsNow.mu.RUnlock()
	if !holdsStep(flowsNow.known.Find(f.Name), s) {
		return
	}
	flowSteps.WithLabelValues(f.Name, s.ID, string(s.Kind), string(outcome)).Inc()
	if outcome != flows.Skipped {
		stepSeconds.WithLabelValues(f.Name, s.ID).Observe(took.Seconds())
	}
}
