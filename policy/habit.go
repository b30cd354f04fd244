package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"sync"
	"time"

	"jarvis-gateway/proxy/wire"
)

// habit is what experience tells of a tenant's requests for a model: how what providers report of prompts differs from our
// estimate (tools, schemas, pictures and other vocabularies are not guessed well), and how long answers are.
type habit struct {
	mu     sync.Mutex
	ratio  average // of prompts as reported to prompts as estimated
	extra  average // of prompts as reported, what was not counted
	length average // of answers, in tokens
	hidden bool    // answers had thoughts of which the client saw nothing, or sound
}

// hides tells whether answers have had tokens that nobody sees.
func (h *habit) hides() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hidden
}

// average is a running mean and mean deviation: of all at first, then with more weight on what is new.
type average struct {
	n         int
	mean, dev float64
}

const samples = 20 // samples that weigh about as much as all before them

func (a *average) add(x float64) {
	a.n = min(a.n+1, samples)
	share := 1 / float64(a.n)
	if a.n == 1 {
		a.mean = x
		a.dev = math.Abs(x) / 4 // one sample tells nothing of others
		return
	}
	a.dev += share * (math.Abs(x-a.mean) - a.dev)
	a.mean += share * (x - a.mean)
}

// above is the value that few samples lie above.
func (a *average) above(devs float64) float64 { return a.mean + devs*a.dev }

// The guesses without experience.
const (
	firstRatio  = 1.15 // of a prompt as reported to the estimate
	framing     = 16   // tokens that a provider may put around any prompt
	firstAnswer = 256
	boundAnswer = 1024
)

// prompt is what a provider will most probably report at most for a prompt of an estimated length.
func (h *habit) prompt(estimated int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ratio.n == 0 {
		return int64(float64(estimated)*firstRatio) + framing
	}
	return int64(math.Ceil(float64(estimated)*h.ratio.above(3))) + framing/4
}

// counted is the same for a prompt that was counted.
func (h *habit) counted(exact int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.extra.n == 0 {
		return exact + framing
	}
	return exact + max(0, int64(math.Ceil(h.extra.above(3))))
}

// answer is how long an answer probably is, and what hardly any is longer than.
func (h *habit) answer() (first, bound int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.length.n == 0 {
		return firstAnswer, boundAnswer
	}
	few := float64(samples-h.length.n) / samples * firstAnswer // hardly any experience is none
	return int64(h.length.above(1)+few) + 1, max(int64(h.length.above(5)+4*few)+1, firstAnswer)
}

// learn takes in what a provider reported. An answer that was cut short tells nothing of how long answers are.
func (h *habit) learn(guess, exact int64, u wire.Usage, n int64, cut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if guess > 0 && u.Prompt > 0 {
		h.ratio.add(float64(u.Prompt) / float64(guess))
	}
	if exact > 0 && u.Prompt > 0 {
		h.extra.add(float64(u.Prompt - exact))
	}
	h.hidden = h.hidden || u.Reasoning > 0 || u.AudioOut > 0
	if u.Completion > 0 && !cut {
		h.length.add(float64(u.Completion) / float64(n))
	}
}

// habits are those of a tenant, by model, and whom it has served.
type habits struct {
	mu sync.RWMutex
	by map[string]*habit

	people sync.Mutex // of the maps below
	known  [2]map[[12]byte]struct{}
	since  time.Time
}

// mostUsers is how many end users of a tenant have counters of their own in a day. What names them comes from clients: were
// they unbounded, so would be the memory for them.
const mostUsers = 100_000

// user stands for an end user in counters' names: names of people do not belong there. Whoever comes after mostUsers shares
// with others.
func (h *habits) user(name string) string {
	if name == "" {
		return "-"
	}
	digest := sha256.Sum256([]byte(name))
	key := [12]byte(digest[:12])
	h.people.Lock()
	defer h.people.Unlock()
	if now := time.Now(); h.known[0] == nil || now.Sub(h.since) > 24*time.Hour {
		h.known[0], h.known[1], h.since = map[[12]byte]struct{}{}, h.known[0], now
	}
	if _, known := h.known[0][key]; !known {
		if _, before := h.known[1][key]; !before && len(h.known[0]) >= mostUsers {
			return "others/" + hex.EncodeToString(key[:1])
		}
		h.known[0][key] = struct{}{}
	}
	return hex.EncodeToString(key[:])
}

func (h *habits) of(model string) *habit {
	h.mu.RLock()
	known := h.by[model]
	h.mu.RUnlock()
	if known != nil {
		return known
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = map[string]*habit{}
	}
	if h.by[model] == nil {
		if len(h.by) >= mostHabits {
			model = ""
		}
		if h.by[model] == nil {
			h.by[model] = &habit{}
		}
	}
	return h.by[model]
}

// mostHabits bounds the names that clients may make up, where a pattern or a provider takes any.
const mostHabits = 1000

// experience is that with every tenant. It outlives the Gate: the next config's goes on with it.
type experience struct{ tenants sync.Map }

// with is the experience with a tenant, who keeps it.
func (e *experience) with(t *tenant) *habits {
	if h := t.habits.Load(); h != nil {
		return h
	}
	h, _ := e.tenants.LoadOrStore(t.name, &habits{})
	t.habits.Store(h.(*habits))
	return h.(*habits)
}
