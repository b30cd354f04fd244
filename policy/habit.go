package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"jarvis-gateway/proxy/wire"
)

// habit is what experience tells of a tenant's requests for a model: how what providers report of prompts differs from what we
// estimate or count (tools, schemas, pictures and other vocabularies are not guessed well), and how long answers are.
type habit struct {
	mu     sync.Mutex
	ratio  average // of prompts as reported to prompts as estimated
	length average // of answers, in tokens
	ruler  ruler   // of prompts as reported beside prompts as counted
	seen   int     // prompts that the ruler knows
	agreed int64   // tokens of the longest prompt of plain messages that was reported as it was counted
	apart  bool    // one was not
	beyond int64   // tokens that were reported at most beyond the bytes of a request
	named  float64 // of what requests only name, as reported to what is held for it
	event  int64   // tokens that an event of a stream has, beyond the first
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
	firstRatio  = 1.15   // of a prompt as reported to the estimate
	firstOther  = 4. / 3 // the same where the provider's vocabulary is not known
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

// wide is more than a provider may report for a request of so many bytes that names so much that does not stand in it: no
// token has less than a byte.
func (h *habit) wide(size int, elsewhere int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(size) + 4*framing + 2*h.beyond + h.other(elsewhere)
}

// counted is the same for a prompt that was counted, by the provider's own vocabulary or another.
func (h *habit) counted(r *Grant, own bool) int64 {
	first := firstOther
	if own {
		first = firstRatio
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	bound := h.ruler.bound(r.exact, first) + h.other(r.elsewhere)
	if h.documented(r) {
		return min(bound, r.exact+r.framed)
	}
	return bound
}

// documented tells a prompt that is counted as its provider documents it, who has been seen to do so, and never not to. Then little
// experience is enough, but a short prompt tells nothing of much longer ones, which another vocabulary may make longer still.
func (h *habit) documented(r *Grant) bool {
	return r.framed > 0 && r.elsewhere == 0 && !h.apart && r.exact <= 2*h.agreed
}

// told is what a provider that has not said it will most probably bill for a prompt.
func (h *habit) told(guess, exact, elsewhere int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if exact == 0 {
		return int64(math.Ceil(float64(guess) * h.ratio.mean)) // 0 without experience
	}
	return h.ruler.told(exact) + int64(float64(elsewhere)*h.named)
}

// other is what may be reported for what a request only names.
func (h *habit) other(elsewhere int64) int64 {
	return int64(float64(elsewhere) * max(1, h.named*5/4))
}

// curious tells a prompt that should be counted for experience alone.
func (h *habit) curious() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen < samples || rand.Uint32()%curiosity == 0
}

const curiosity = 64 // one prompt in so many

// overshoot is how far streams go beyond what they were let give, as this one did that was let give so much.
func (h *habit) overshoot(given, allowed int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if allowed > 0 && given >= allowed {
		h.event = max(given-allowed, h.event-h.event/16)
	}
	return h.event
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

// learn takes in what a provider reported of a request. An answer that was cut short tells nothing of how long answers are.
func (h *habit) learn(r *Grant, u wire.Usage) {
	cut := r.cut(u)
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.Prompt > 0 {
		h.learnPrompt(r, u.Prompt)
	}
	h.hidden = h.hidden || u.Reasoning > 0 || u.AudioOut > 0
	if u.Completion > 0 && !cut {
		h.length.add(float64(u.Completion) / float64(r.ask.N))
	}
}

func (h *habit) learnPrompt(r *Grant, reported int64) {
	if r.guess > 0 {
		h.ratio.add(float64(reported) / float64(r.guess))
	}
	if r.ask.Raw != nil {
		h.beyond = max(h.beyond, reported-int64(len(r.ask.Raw))-4*framing-r.elsewhere)
	}
	switch {
	case r.exact == 0:
	case r.elsewhere > 0:
		h.named = max(h.named, float64(reported-h.ruler.told(r.exact))/float64(r.elsewhere))
	default:
		h.ruler.learn(r.exact, reported)
		h.seen++
		h.agree(r, reported)
	}
}

// agree looks whether a prompt of plain messages was reported as it was counted, but for a token by message.
func (h *habit) agree(r *Grant, reported int64) {
	switch off := reported - r.exact; {
	case r.framed == 0:
	case off > r.framed || off < -r.framed:
		h.apart = true
	default:
		h.agreed = max(h.agreed, r.exact)
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

// habits are what was learnt of a tenant: of the one that has this id, and no other that had the name. They go from his entry
// to the next, through reloads too, and end with the last.
func (d *directory) habits(name, id string) *habits {
	if d != nil {
		if t := d.tenants[name]; t != nil && t.id == id {
			return t.habits
		}
	}
	return &habits{}
}
