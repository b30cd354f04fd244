package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what an audit entry tells of.
type Kind string

// The kinds of audit entries.
const (
	Operation    Kind = "operation" // somebody changed something at run time
	Denial       Kind = "denial"    // somebody was refused
	ConfigChange Kind = "config"
	Security     Kind = "security"
)

// Entry is one line of the audit log: who did what to what, from where. It never holds a key or what people said.
type Entry struct {
	Seq     int64           `json:"seq"` // its number; the store's
	At      time.Time       `json:"at"`  // zero: when it is recorded
	Kind    Kind            `json:"kind"`
	Actor   string          `json:"actor,omitempty"`
	Action  string          `json:"action"`
	Tenant  string          `json:"tenant,omitempty"`
	Target  string          `json:"target,omitempty"`
	From    string          `json:"from,omitempty"`    // an address
	Request string          `json:"request,omitempty"` // its id
	Repeats int64           `json:"repeats,omitempty"` // this many more like it were not recorded; the store's
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
}

// What is longer comes from strangers or by mistake: it is cut, or left out.
const (
	longestWord  = 256
	longestValue = 64 << 10
)

// Record puts an entry into the audit log without waiting. It is lost only when too much is waiting already or at exit when
// the database still fails: see Missed and OnDrop; when a database fails at the wrong moment, it may be there twice. Denials
// and security events that repeat are counted rather than recorded, so that a flood does not fill the disk: see flood.
func (s *Store) Record(e Entry) {
	now := s.now()
	e.bound(now)
	e.Repeats = 0
	if s.flood.admit(&e, now) {
		s.post(s.entry(e))
	}
}

func (s *Store) entry(e Entry) *write {
	return &write{do: func(ctx context.Context, tx *sql.Tx) error { return record(ctx, tx, e) }, inTurn: true, lost: &s.missed}
}

// counted writes what repeated in the minute that is over, or until now.
func (s *Store) counted(all bool) (group []*write) {
	for _, e := range s.flood.end(s.now(), all) {
		group = append(group, s.entry(e))
	}
	return group
}

func record(ctx context.Context, tx *sql.Tx, e Entry) error {
	if err := tx.QueryRowContext(ctx, `UPDATE tally SET audit = audit + 1 RETURNING audit`).Scan(&e.Seq); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO audit (`+entryColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		e.Seq, millis(e.At), string(e.Kind), e.Actor, e.Action, e.Tenant, e.Target, e.From, e.Request, e.Repeats, []byte(e.Before), []byte(e.After))
	return err
}

const entryColumns = `seq, at, kind, actor, action, tenant, target, source, request, repeats, before, after`

// bound makes an entry what the table can hold.
func (e *Entry) bound(now time.Time) {
	if e.At.IsZero() {
		e.At = now
	}
	for _, word := range []*string{(*string)(&e.Kind), &e.Actor, &e.Action, &e.Tenant, &e.Target, &e.From, &e.Request} {
		*word = cut(*word)
	}
	e.Before, e.After = fit(e.Before), fit(e.After)
}

func cut(word string) string {
	if len(word) > longestWord {
		n := longestWord
		for n > longestWord-utf8.UTFMax && !utf8.RuneStart(word[n]) {
			n--
		}
		word = word[:n] + "…"
	}
	if sayable(word) {
		return word
	}
	return strings.ReplaceAll(strings.ToValidUTF8(word, "\uFFFD"), "\x00", "\uFFFD")
}

func fit(value json.RawMessage) json.RawMessage {
	if len(value) == 0 {
		return nil
	}
	if len(value) > longestValue || !json.Valid(value) {
		return fmt.Appendf(nil, `{"omitted_bytes":%d}`, len(value))
	}
	return value
}

// Filter chooses audit entries. What is zero does not matter.
type Filter struct {
	Tenant, Actor, Action string
	Kind                  Kind
	Keys                  []string  // TENANT/KEY: what these did, and what was done to them; nil: all
	Since, Until          time.Time // from Since on, before Until
	After                 int64     // the Seq of the last that was read
	Limit                 int       // at most; 1000 when it is 0, never more than 10000
}

const (
	page     = 1000
	mostPage = 10000
)

// Audit reads the audit log in its order. Whoever goes on with After the last Seq misses no entry, also of those that other
// gateways write meanwhile.
func (s *Store) Audit(ctx context.Context, f Filter) ([]Entry, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	where, args := f.where()
	list, err := collect(ctx, s.db, scanEntry, `SELECT `+entryColumns+` FROM audit WHERE `+where, args...)
	return list, outOfTime(ctx, err)
}

func (f *Filter) where() (where string, args []any) {
	and := func(condition string, arg any) {
		args = append(args, arg)
		where += fmt.Sprintf(condition, len(args))
	}
	and(`seq > $%d`, f.After)
	for _, c := range []struct{ column, value string }{{"tenant", f.Tenant}, {"actor", f.Actor}, {"action", f.Action}, {"kind", string(f.Kind)}} {
		if c.value != "" {
			and(` AND `+c.column+` = $%d`, cut(c.value))
		}
	}
	if f.Keys != nil {
		list := make([]string, 1, 1+len(f.Keys))
		list[0] = "NULL" // of no keys nothing
		for _, key := range f.Keys {
			args = append(args, cut(key))
			list = append(list, fmt.Sprintf("$%d", len(args)))
		}
		where += ` AND CASE WHEN action LIKE 'key.%' THEN tenant || '/' || target ELSE actor END IN (` + strings.Join(list, ", ") + `)`
	}
	if !f.Since.IsZero() {
		and(` AND at >= $%d`, millis(f.Since))
	}
	if !f.Until.IsZero() {
		and(` AND at < $%d`, millis(f.Until))
	}
	limit := f.Limit
	if limit <= 0 {
		limit = page
	}
	and(` ORDER BY seq LIMIT $%d`, min(limit, mostPage))
	return where, args
}

func scanEntry(rows *sql.Rows) (e Entry, err error) {
	var at int64
	var before, after []byte
	err = rows.Scan(&e.Seq, &at, &e.Kind, &e.Actor, &e.Action, &e.Tenant, &e.Target, &e.From, &e.Request, &e.Repeats, &before, &after)
	e.At, e.Before, e.After = date(at), before, after
	return e, err
}

// Retain has the audit log forget what is older. 0: nothing, as at first.
func (s *Store) Retain(age time.Duration) { s.retain.Store(int64(max(age, 0))) }
