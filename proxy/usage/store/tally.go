package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// This file answers questions from SQLite: it reads the records once, as they lie there, and adds them up. SQLite would join each of
// them to what it shares with others, and sort them all for every percentile.

// mostGroups bounds the memory that an answer takes.
const mostGroups = 500_000

// tally adds up the requests that a question is about.
type tally struct {
	*link
	q      *Question
	needs  part
	where  map[string]map[string]bool
	scores map[usage.UID]int64 // of requests that somebody had an opinion of
	caller map[int64]*together
	way    map[int64]*together
	clock  clock

	total  *group
	groups map[string]*group
	key    []byte
	pool   pool
}

// together is what requests share: a row of callers or of ways.
type together struct {
	names  map[string]string
	other  bool // the question is not about them
	shares Sums // what one such request adds to a group

	timed, streamed bool
}

// What a question may name of callers and ways, in the order in which it is read.
var (
	callerNames = callerColumns
	wayNames    = []string{"endpoint", "model", "provider", "served", "replica", "region", "outcome", "code", "cache", "prompt", "corpus", "flow", "rollout", "arm"}
)

// The columns of a record as a tally reads them. Those from tallyUser on are only read where they are needed.
const (
	tallyTime = iota
	tallyCaller
	tallyWay
	tallyPrompt
	tallyCompletion
	tallyCached
	tallyCacheWrite
	tallyReasoning
	tallyCost
	tallySaved
	tallyTotal
	tallyFirst
	tallyFell
	tallyRetried
	tallyUser
	tallyScene
	tallyAsked
	tallyTags
	tallyUID
)

// tally answers a checked question: what everything comes to, and each group.
func (e *sqliteEngine) tally(ctx context.Context, q *Question, show []measure) (*tally, error) {
	t := &tally{q: q, where: map[string]map[string]bool{}, caller: map[int64]*together{}, way: map[int64]*together{}, clock: clock{zone: q.Zone},
		total: newGroup(nil), groups: map[string]*group{}}
	for _, m := range show {
		t.needs |= m.needs
	}
	for name, values := range q.Where {
		if len(values) > 0 {
			t.where[name] = map[string]bool{}
		}
		for _, v := range values {
			t.where[name][v] = true
		}
	}
	var err error
	if t.link, err = e.reader(); err != nil {
		return nil, err
	}
	defer t.close()
	return t, t.read(ctx)
}

// reader is a connection that reads one state of the database.
func (e *sqliteEngine) reader() (*link, error) {
	if err := e.usable(); err != nil {
		return nil, err
	}
	l, err := dial(e.uri, "busy_timeout(5000)", "query_only(1)", "cache_size(-8000)")
	if err == nil {
		err = l.run("BEGIN")
	}
	return l, err
}

func (t *tally) read(ctx context.Context) (err error) {
	if t.needs&feedbackPart != 0 {
		if t.scores, err = t.opinions(ctx, t.q); err != nil {
			return err
		}
	}
	from, err := t.from()
	if err != nil || from == "" {
		return err
	}
	s, err := t.keep(t.columns() + " FROM records " + from)
	if err != nil {
		return err
	}
	s.ints(t.q.Since.UnixMicro(), t.q.Until.UnixMicro())
	return s.each(ctx, func() error { return t.add(s) })
}

func (t *tally) columns() string {
	list := []string{`time, caller, way, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano, saved_nano, ` +
		`total_us, first_us, fell, retried`}
	for _, name := range []string{"user", "scene", "asked", tagGroup, "uid"} {
		column := quoted(name)
		switch {
		case name == "uid" && len(t.scores) == 0, name != "uid" && !slices.Contains(t.q.By, name) && t.where[name] == nil:
			column = "NULL"
		case name == tagGroup:
			column = "tags"
		}
		list = append(list, column)
	}
	return "SELECT " + strings.Join(list, ", ")
}

// fewCallers is how many callers' records are looked for one caller after the other.
const fewCallers = 200

// from says where the records are that may be asked about; "" if there are none.
func (t *tally) from() (string, error) {
	const between = "time >= ? AND time < ?"
	var wanted []string
	var values []string
	for _, name := range callerNames {
		if list := slices.Sorted(maps.Keys(t.where[name])); len(list) > 0 {
			wanted = append(wanted, quoted(name)+" IN ("+strings.TrimPrefix(strings.Repeat(", ?", len(list)), ", ")+")")
			values = append(values, list...)
		}
	}
	if len(wanted) == 0 {
		return "INDEXED BY records_time WHERE " + between, nil
	}
	s, err := t.keep("SELECT caller FROM callers WHERE " + strings.Join(wanted, " AND ") + fmt.Sprintf(" LIMIT %d", fewCallers+1))
	if err != nil {
		return "", err
	}
	for _, v := range values {
		s.text(v)
	}
	var callers []string
	if err = s.each(context.Background(), func() error { callers = append(callers, fmt.Sprint(s.number(0))); return nil }); err != nil || len(callers) == 0 {
		return "", err
	}
	if len(callers) > fewCallers {
		return "INDEXED BY records_time WHERE " + between, nil
	}
	return "INDEXED BY records_caller WHERE caller IN (" + strings.Join(callers, ", ") + ") AND " + between, nil
}

// shared finds a row of callers or ways.
func (t *tally) shared(known map[int64]*together, one string, names []string, number int64) (*together, error) {
	if x := known[number]; x != nil {
		return x, nil
	}
	columns, flags := `"`+strings.Join(names, `", "`)+`"`, ""
	if one == "way" {
		flags = ", stream, estimated, interrupted"
	}
	s, err := t.keep("SELECT " + columns + flags + " FROM " + one + "s WHERE " + one + " = ?")
	if err != nil {
		return nil, err
	}
	x := &together{names: map[string]string{}}
	s.int(number)
	err = s.each(context.Background(), func() error {
		for i, name := range names {
			x.names[name] = string(s.bytes(i))
			x.other = x.other || t.where[name] != nil && !t.where[name][x.names[name]]
		}
		if one == "way" {
			x.weigh(s.number(len(names)) != 0, s.number(len(names)+1), s.number(len(names)+2))
		}
		return nil
	})
	known[number] = x
	return x, err
}

func (x *together) weigh(stream bool, estimated, interrupted int64) {
	cached := x.names["cache"]
	x.shares = Sums{
		Requests: 1, Errors: bit(slices.Contains(failures, x.names["outcome"])), ClientGone: bit(x.names["outcome"] == "client_gone"), Interrupted: interrupted,
		Estimated: estimated, CacheHits: bit(cached == "exact" || cached == "semantic"), CacheMisses: bit(cached == "miss"),
	}
	x.timed, x.streamed = interrupted == 0, stream && interrupted == 0
}

// add adds the record that s has read.
func (t *tally) add(s *statement) error {
	caller, err := t.shared(t.caller, "caller", callerNames, s.number(tallyCaller))
	if err != nil || caller.other {
		return err
	}
	way, err := t.shared(t.way, "way", wayNames, s.number(tallyWay))
	if err != nil || way.other {
		return err
	}
	if wanted := t.where["user"]; wanted != nil && !wanted[string(s.bytes(tallyUser))] {
		return nil
	}
	if wanted := t.where["scene"]; wanted != nil && !wanted[string(s.bytes(tallyScene))] {
		return nil
	}
	if wanted := t.where["asked"]; wanted != nil && !wanted[string(askedOf(s, way))] {
		return nil
	}
	var tags []string
	if text := s.bytes(tallyTags); len(text) > 0 {
		if err := json.Unmarshal(text, &tags); err != nil {
			return err
		}
	}
	if wanted := t.where[tagGroup]; wanted != nil && !slices.ContainsFunc(tags, func(tag string) bool { return wanted[tag] }) {
		return nil
	}
	return t.put(s, caller, way, tags)
}

func askedOf(s *statement, way *together) []byte {
	if s.isNull(tallyAsked) {
		return []byte(way.names["model"])
	}
	return s.bytes(tallyAsked)
}

// put adds a record to its groups.
func (t *tally) put(s *statement, caller, way *together, tags []string) error {
	sums := way.shares
	for i, into := range [...]*int64{&sums.Prompt, &sums.Completion, &sums.Cached, &sums.CacheWrite, &sums.Reasoning, (*int64)(&sums.Cost), (*int64)(&sums.Saved),
		&sums.TotalP50, &sums.FirstP50, &sums.Fallbacks, &sums.Retries} {
		*into = s.number(tallyPrompt + i)
	}
	if len(t.scores) > 0 {
		if score, rated := t.scores[readUID(s.bytes(tallyUID))]; rated {
			sums.Feedback, sums.Scores = 1, score
		}
	}
	ranked := t.needs&rankPart != 0
	one := entry{sums, ranked && way.timed, ranked && way.streamed && sums.FirstP50 > 0}
	t.total.add(&one, &t.pool)
	if len(t.q.By) == 0 {
		return nil
	}
	if slices.Sort(tags); len(tags) == 0 || !slices.Contains(t.q.By, tagGroup) {
		tags = []string{""}
	}
	for _, tag := range slices.Compact(tags) {
		g := t.group(s, caller, way, tag)
		if g == nil {
			return wire.Invalid("by", "by: there are more than %d groups; ask for a shorter time, or for less with where.", mostGroups)
		}
		g.add(&one, &t.pool)
	}
	return nil
}

// group finds the group of a record.
func (t *tally) group(s *statement, caller, way *together, tag string) *group {
	key := t.key[:0]
	for _, name := range t.q.By {
		switch name {
		case "user":
			key = appendName(key, s.bytes(tallyUser))
		case "scene":
			key = appendName(key, s.bytes(tallyScene))
		case "asked":
			key = appendName(key, askedOf(s, way))
		case tagGroup:
			key = appendName(key, tag)
		case "tenant", "team", "key":
			key = appendName(key, caller.names[name])
		case "minute", "hour", "day", "week", "month":
			key = appendTick(key, t.clock.tick(name, s.number(tallyTime)))
		default:
			key = appendName(key, way.names[name])
		}
	}
	t.key = key
	g := t.groups[string(key)]
	if g == nil && len(t.groups) < mostGroups {
		g = newGroup(key)
		t.groups[string(key)] = g
	}
	return g
}
