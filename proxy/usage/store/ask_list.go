package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// Listing asks for single requests, the newest first.
type Listing struct {
	Question        // of which By, Order and Desc do not count
	ID       string // Record.ID; "": all
	UID      string // Record.UID; "": all
	After    string // Cursor of the last one of the page before
}

// Request is one request as it was recorded, without what was said.
type Request struct {
	usage.Record
	Rated bool // somebody had an opinion
	Score float64
}

// Cursor is where the page after this request begins.
func (r *Request) Cursor() string {
	return strconv.FormatInt(r.Time.UnixMicro(), 10) + "." + r.UID.String()
}

// listColumns are those of a record, in the order of scanRequest.
const listColumns = `r.id, r.tenant, r.team, r."key", r."user", r.scene, r.endpoint, r.asked, r.model, r.provider, r.served, r.replica, r.region, r.route, ` +
	`r.rollout, r.arm, r.cache, r.prompt, r.corpus, r.flow, r.price, r.outcome, r.code, r.finish, r.prompt_tokens, r.completion_tokens, r.cached_tokens, ` +
	`r.cache_write_tokens, r.reasoning_tokens, r.cost_nano, r.saved_nano, r.queued_us, r.first_us, r.upstream_us, r.overhead_us, r.total_us, r.bytes_in, r.bytes_out, ` +
	`r.similarity, `

// Requests lists requests, and tells whether there are more. Their attempts come with them.
func (s *Store) Requests(ctx context.Context, l Listing) ([]Request, bool, error) {
	return s.asker().requests(ctx, l)
}

func (a *asker) requests(ctx context.Context, l Listing) (list []Request, more bool, err error) {
	l.By, l.Order = nil, ""
	if l.Since.IsZero() && l.ID+l.UID != "" {
		l.Since = later(l.Until, time.Now()).AddDate(-1, 0, 0) // whoever looks for one does not know when it was
	}
	if err := l.check(time.Now()); err != nil {
		return nil, false, err
	}
	ctx, done, err := a.begin(ctx)
	if err != nil {
		return nil, false, err
	}
	defer done()
	if err := a.identify(ctx, &l); err != nil {
		return nil, false, err
	}
	p := &phrase{}
	if err := a.list(p, &l); err != nil {
		return nil, false, err
	}
	found, err := a.query(ctx, p.String(), p.args)
	if err != nil {
		return nil, false, askFailure(err)
	}
	defer found.Close()
	list = []Request{}
	for found.Next() {
		r, err := scanRequest(found)
		if err != nil {
			return nil, false, askFailure(err)
		}
		list = append(list, r)
	}
	if err := found.Err(); err != nil {
		return nil, false, askFailure(err)
	}
	if more = len(list) > l.Limit; more {
		list = list[:l.Limit]
	}
	return list, more, askFailure(a.addAttempts(ctx, &l.Question, list))
}

// list writes the statement.
func (a *asker) list(p *phrase, l *Listing) error {
	uid := fmt.Sprintf(a.text, "r.uid")
	p.add("SELECT %s, %s, ", uid, fmt.Sprintf(a.ticks, "r.time"))
	p.add("%s%s, CASE WHEN r.stream THEN 1 ELSE 0 END, CASE WHEN r.gone THEN 1 ELSE 0 END, CASE WHEN r.interrupted THEN 1 ELSE 0 END, CASE WHEN r.estimated THEN 1 ELSE 0 END, "+
		"%s, coalesce(f.rated, 0), coalesce(f.score, 0) FROM %s", listColumns, fmt.Sprintf(a.whole, "r.status"), a.listed, a.requestsOf("r", &l.Question))
	a.joinFeedback(p, &l.Question)
	p.add(" WHERE ")
	a.filter(p, &l.Question)
	if l.id != "" {
		p.args = append(p.args, l.id)
		p.add(" AND r.id = ?")
	}
	if l.UID != "" {
		p.args = append(p.args, l.UID)
		p.add(" AND r.uid = ?")
	}
	if l.After != "" {
		micros, after, ok := strings.Cut(l.After, ".")
		us, err := strconv.ParseInt(micros, 10, 64)
		if err != nil || !ok {
			return wire.Invalid("after", "after: expected the last_id of the page before.")
		}
		p.args = append(p.args, us, us, after)
		p.add(" AND r.time <= %s AND (r.time < %[1]s OR %s < ?)", a.moment, uid)
	}
	p.add(" ORDER BY r.time DESC, %s DESC LIMIT %d%s", uid, l.Limit+1, a.last)
	return nil
}

// identify completes a listing of one request. SQLite has no index of uids, but they begin with when they were made, which is when the
// request came, or later.
func (a *asker) identify(ctx context.Context, l *Listing) error {
	l.id = l.ID
	if l.UID != "" {
		known, err := uuid.Parse(l.UID) // also in other spellings
		if err != nil {
			return wire.Invalid("uid", "uid: expected one like 0198f2c1-7a3b-7c4d-8e5f-0123456789ab.")
		}
		l.UID = known.String()
	}
	if a.lite == nil || l.ID+l.UID == "" {
		return nil
	}
	return askFailure(a.lite.identify(ctx, l))
}

func scanRequest(found askRows) (r Request, err error) {
	var uid, tags string
	var us, stream, gone, interrupted, estimated, status, rated, scored int64
	var spans [5]int64
	u := &r.Usage
	if err := found.Scan(&uid, &us, &r.ID, &r.Tenant, &r.Team, &r.Key, &r.User, &r.Scene, &r.Endpoint, &r.Asked, &r.Model, &r.Provider, &r.Served, &r.Replica,
		&r.Region, &r.Route, &r.Rollout, &r.Arm, &r.Cache, &r.Prompt, &r.Corpus, &r.Flow, &r.Price, &r.Outcome, &r.Code, &r.Finish, &u.Prompt, &u.Completion,
		&u.CachedPrompt, &u.CacheWrite, &u.Reasoning, (*int64)(&r.Cost), (*int64)(&r.Saved), &spans[0], &spans[1], &spans[2], &spans[3], &spans[4], &r.In, &r.Out,
		&r.Similarity, &status, &stream, &gone, &interrupted, &estimated, &tags, &rated, &scored); err != nil {
		return r, err
	}
	known, err := uuid.Parse(uid)
	if err != nil {
		return r, err
	}
	r.UID = usage.UID(known)
	r.Time, r.Status = time.UnixMicro(us).UTC(), int(status)
	r.Stream, r.Gone, r.Interrupted, u.Estimated, r.Rated, r.Score = stream == 1, gone == 1, interrupted == 1, estimated == 1, rated == 1, float64(scored)/1e6
	for i, d := range []*time.Duration{&r.Queued, &r.First, &r.Upstream, &r.Overhead, &r.Total} {
		*d = time.Duration(spans[i]) * time.Microsecond
	}
	return r, json.Unmarshal([]byte(tags), &r.Tags)
}

// addAttempts finds the attempts of a page of requests.
func (a *asker) addAttempts(ctx context.Context, q *Question, list []Request) error {
	if len(list) == 0 {
		return nil
	}
	uids, times, at := make([]string, len(list)), make([]string, len(list)), map[string]*Request{}
	for i := range list {
		times[i] = strconv.FormatInt(list[i].Time.UnixMicro(), 10)
		uids[i] = list[i].UID.String()
		at[uids[i]] = &list[i]
	}
	p := &phrase{}
	p.add("SELECT %s, t.kind, t.model, t.provider, t.served, t.replica, t.region, t.result, t.begun_us, t.first_us, t.prompt_tokens, t.completion_tokens, t.cost_nano FROM %s WHERE ",
		fmt.Sprintf(a.text, "t.uid"), a.read("attempts", "t"))
	within := *q
	within.Since, within.Until = list[len(list)-1].Time, list[0].Time.Add(1)
	a.ofTenant(p, "t", &within)
	if a.lite != nil {
		p.add(" AND t.arrived IN (%s)", strings.Join(times, ", "))
	}
	p.add(" AND %s IN (%s) ORDER BY t.uid, t.seq%s", fmt.Sprintf(a.text, "t.uid"), p.marks(uids), a.last)
	found, err := a.query(ctx, p.String(), p.args)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var uid string
		var t usage.Attempt
		var begun, first int64
		if err := found.Scan(&uid, &t.Kind, &t.Entry, &t.Provider, &t.Model, &t.Replica, &t.Region, &t.Result, &begun, &first, &t.Usage.Prompt, &t.Usage.Completion, (*int64)(&t.Cost)); err != nil {
			return err
		}
		t.Begun, t.First = time.Duration(begun)*time.Microsecond, time.Duration(first)*time.Microsecond
		at[uid].Attempts = append(at[uid].Attempts, t)
	}
	return found.Err()
}
