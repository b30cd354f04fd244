package store

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// group is what the requests of one group come to. Its key is its names, each with its length before it.
type group struct {
	key []byte
	Sums
	totals, firsts values
}

func newGroup(key []byte) *group { return &group{key: slices.Clone(key)} }

func appendName[T string | []byte](key []byte, name T) []byte {
	return append(binary.AppendUvarint(key, uint64(len(name))), name...)
}

func appendTick(key []byte, tick int64) []byte {
	return binary.BigEndian.AppendUint64(append(key, 8), uint64(tick)) //nolint:gosec // after 1970
}

// entry is one request. In its sums, the medians are its own times.
type entry struct {
	Sums
	timed, streamed bool
}

func (g *group) add(e *entry, p *pool) {
	g.Requests += e.Requests
	g.Errors += e.Errors
	g.ClientGone += e.ClientGone
	g.Interrupted += e.Interrupted
	g.Fallbacks += e.Fallbacks
	g.Retries += e.Retries
	g.Prompt += e.Prompt
	g.Completion += e.Completion
	g.Cached += e.Cached
	g.CacheWrite += e.CacheWrite
	g.Reasoning += e.Reasoning
	g.Estimated += e.Estimated
	g.Cost += e.Cost
	g.Saved += e.Saved
	g.CacheHits += e.CacheHits
	g.CacheMisses += e.CacheMisses
	g.Feedback += e.Feedback
	g.Scores += e.Scores
	if e.timed {
		g.totals.add(e.TotalP50, p)
	}
	if e.streamed {
		g.firsts.add(e.FirstP50, p)
	}
}

// row is the group as an answer has it.
func (g *group) row(q *Question) (r Row) {
	r.Sums, r.Group = g.Sums, make([]string, len(q.By))
	r.TotalP50, r.TotalP95, r.TotalP99 = g.totals.nearest(50), g.totals.nearest(95), g.totals.nearest(99)
	r.FirstP50, r.FirstP95 = g.firsts.nearest(50), g.firsts.nearest(95)
	rest := g.key
	for i, by := range q.By {
		n, used := binary.Uvarint(rest)
		end := used + int(n) //nolint:gosec // it was one
		name := rest[used:end]
		rest = rest[end:]
		if slices.Contains(askUnits, by) {
			r.Group[i], r.Start = nameTick(by, int64(binary.BigEndian.Uint64(name)), q.Zone) //nolint:gosec // it was one
		} else {
			r.Group[i] = string(name)
		}
	}
	return r
}

// values are what percentiles are of. Many of them are kept as how often each came, to within a thousandth.
type values struct {
	list   []int64
	coarse map[int64]int64
	n      int64
}

// pool bounds the memory of all values of an answer.
type pool struct{ exact int }

const (
	mostExact  = 4_000_000 // values of an answer, of which all percentiles are exact
	leastExact = 1024      // values of a group, of which they always are
)

func (v *values) add(us int64, p *pool) {
	v.n++
	if v.coarse != nil {
		v.coarse[coarse(us)]++
		return
	}
	v.list = append(v.list, us)
	if p.exact++; p.exact <= mostExact || len(v.list) <= leastExact {
		return
	}
	v.coarse = map[int64]int64{}
	for _, us := range v.list {
		v.coarse[coarse(us)]++
	}
	v.list = nil
}

// coarse leaves the first ten bits of a number.
func coarse(us int64) int64 {
	rest := max(bits.Len64(uint64(max(us, 0)))-10, 0) //nolint:gosec // it is not below 0
	return us >> rest << rest
}

// nearest is the least value that so many of a hundred do not exceed.
func (v *values) nearest(percent int64) int64 {
	if v.n == 0 {
		return -1
	}
	rank := (v.n*percent + 99) / 100
	if v.coarse == nil {
		if !slices.IsSorted(v.list) {
			slices.Sort(v.list)
		}
		return v.list[rank-1]
	}
	for _, us := range slices.Sorted(maps.Keys(v.coarse)) {
		if rank -= v.coarse[us]; rank <= 0 {
			return us
		}
	}
	panic("BUG: more values than were counted")
}

// rows are what a question wants, in its order, and one more than its limit.
func (t *tally) rows() []Row {
	if len(t.q.By) == 0 {
		return []Row{t.total.row(t.q)}
	}
	rows := make([]Row, 0, len(t.groups))
	for _, g := range t.groups {
		rows = append(rows, g.row(t.q))
	}
	slices.SortFunc(rows, t.q.compare)
	return rows[:min(len(rows), t.q.Limit+1)]
}

// compare puts rows in the order that is asked for, and those that are equal by their names. When nobody says one, it is the dearest
// first, of each time.
func (q *Question) compare(a, b Row) int {
	var order int
	at := slices.Index(q.By, q.Order)
	m, _ := measureOf(q.Order)
	switch {
	case at >= 0:
		order = q.compareNames(&a, &b, at)
	case q.Order != "":
		order = cmp.Compare(m.value(&a.Sums), m.value(&b.Sums))
	case !a.Start.IsZero():
		order = cmp.Or(a.Start.Compare(b.Start), cmp.Compare(b.Cost, a.Cost))
	default:
		order = cmp.Compare(b.Cost, a.Cost)
	}
	if q.Order != "" && q.Desc {
		order = -order
	}
	for i := 0; i < len(q.By) && order == 0; i++ {
		order = q.compareNames(&a, &b, i)
	}
	return order
}

func (q *Question) compareNames(a, b *Row, i int) int {
	if slices.Contains(askUnits, q.By[i]) {
		return a.Start.Compare(b.Start)
	}
	return strings.Compare(a.Group[i], b.Group[i])
}

// value is what rows are ordered by.
func (m *measure) value(s *Sums) float64 {
	switch m.name {
	case "error_rate":
		return s.ErrorRate()
	case "cache_hit_rate":
		return s.CacheHitRate()
	case "score":
		return s.Score()
	}
	return float64(*m.field(s))
}
