//go:build unix

package proxy

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/wire"
)

// A gateway may be killed wherever it is in recording a response in the background: before the state store has its claim, or after,
// with its record not written yet. What the response used is recorded once all the same: by whoever takes over the spool, or by
// another gateway.

// doomed is a gateway that is killed, and what is left of it then.
type doomed struct {
	t    *testing.T
	dir  string
	x    *exchange
	list map[string]string // folders as they were at a crash
}

const backgroundID = "resp_1"

func newDoomed(t *testing.T) *doomed {
	d := &doomed{t: t, dir: t.TempDir(), x: recordedExchange(t, ""), list: map[string]string{}}
	d.x.conn.server = d.server(d.dir)
	d.x.ep, d.x.tally = posts["/v1/responses"], tally{came: true}
	d.x.body, _ = wire.Parse([]byte(`{"model":"chat","input":"How much?","background":true,"stream":true}`))
	d.x.start = time.Now()
	d.x.recording = newRecording(d.x.start)
	d.x.reply.ID, d.x.reply.Body = backgroundID, nil
	d.x.reply.Stream, d.x.reply.Usage = readOut{io.NopCloser(nil)}, wire.Usage{}
	if err := d.x.intend(d.x.target); err != nil {
		t.Fatal(err)
	}
	d.x.call.Begun = d.x.start
	d.x.calling(d.x.target, outcomeOK)
	return d
}

// readOut is a stream that has come to its end.
type readOut struct{ io.ReadCloser }

func (readOut) Usage() wire.Usage { return wire.Usage{Prompt: 7, Completion: 11} }
func (readOut) Close() error      { return nil }

// server is one with the state and the spool of a folder.
func (d *doomed) server(dir string) *Server {
	d.t.Helper()
	store, err := state.Open(d.t.Context(), "sqlite:"+filepath.Join(dir, "state.db"))
	if err != nil {
		d.t.Fatal(err)
	}
	log, err := spool.Open(spool.Options{Dir: filepath.Join(dir, "spool"), Segment: 16 << 10, Cut: Cut(store)})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = log.Close(context.Background()) // it may be closed
		_ = store.Close()
	})
	return &Server{spool: log, state: store, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// put has the response begin.
func (d *doomed) put() {
	d.t.Helper()
	if d.x.tally.later = d.x.postpone(&state.Response{ID: backgroundID, Tenant: d.x.caller.Tenant, Provider: "p"}); !d.x.tally.later {
		d.t.Fatal("it is not kept")
	}
}

// during does what writes once to the state store, and keeps the folders as they are before that, and between that and what follows.
func (d *doomed) during(name string, do func()) {
	d.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(d.dir, "state.db")+"?_txlock=immediate")
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(d.t.Context(), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	owed := d.owed()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	for end := time.Now().Add(10 * time.Second); d.owed() == owed; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatal("nothing was written down")
		}
	}
	before, between := d.t.TempDir(), d.t.TempDir()
	d.copy("spool", before)
	d.copy("state.db*", before)
	d.copy("spool", between)
	if err := tx.Rollback(); err != nil {
		d.t.Fatal(err)
	}
	<-done
	d.copy("state.db*", between)
	d.list[name+" not claimed"], d.list[name+" claimed"] = before, between
	d.keep(name + " done")
}

func (d *doomed) keep(name string) {
	dir := d.t.TempDir()
	d.copy("spool", dir)
	d.copy("state.db*", dir)
	d.list[name] = dir
}

// owed is how often the spool says that something hangs on a claim.
func (d *doomed) owed() (n int) {
	files, _ := filepath.Glob(filepath.Join(d.dir, "spool", "*.seg"))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			n += bytes.Count(b, []byte(`"Ours"`))
		}
	}
	return n
}

func (d *doomed) copy(pattern, to string) {
	d.t.Helper()
	paths, _ := filepath.Glob(filepath.Join(d.dir, pattern))
	for _, path := range paths {
		if stat, err := os.Stat(path); err == nil && stat.IsDir() {
			if err := os.CopyFS(filepath.Join(to, filepath.Base(path)), os.DirFS(path)); err != nil {
				d.t.Fatal(err)
			}
			continue
		}
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(path)), b, 0o600)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// asking is a request for the response, at whatever gateway, after its end.
func (d *doomed) asking(at *Server) *exchange {
	x := &exchange{recording: newRecording(time.Now()), g: d.x.g, caller: d.x.caller, target: d.x.target, route: d.x.route, ep: getResponse,
		conn: &conn{server: at}, call: &provider.Call{Path: "/responses/" + backgroundID}}
	x.reply.Body, x.reply.Usage = []byte(`{"id":"resp_1","status":"completed"}`), wire.Usage{Prompt: 7, Completion: 11}
	return x
}

// recorded is what the records say in the end, after a crash that has left a folder: the spool was taken over before or after another
// gateway was asked for the response, and what nobody has asked for came due.
func (d *doomed) recorded(dir string, asksFirst bool) (list []*usage.Record) {
	d.t.Helper()
	copied := &doomed{t: d.t, dir: dir}
	dir = d.t.TempDir()
	copied.copy("*", dir)
	store, err := state.Open(d.t.Context(), "sqlite:"+filepath.Join(dir, "state.db"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer store.Close()
	open := func(name string) *spool.Log {
		log, err := spool.Open(spool.Options{Dir: filepath.Join(dir, name), Segment: 16 << 10, Cut: Cut(store)})
		if err != nil {
			d.t.Fatal(err)
		}
		return log
	}
	another := open("another")
	ask := func() {
		d.asking(&Server{spool: another, state: store, log: slog.New(slog.NewTextHandler(io.Discard, nil))}).catchUp()
	}
	if asksFirst {
		ask()
	}
	logs := []*spool.Log{another, open("spool")}
	ask()
	ask()
	for _, l := range logs {
		l.Ship(func(_ context.Context, _ string, batch [][]byte) error {
			for _, b := range batch {
				r, _, err := usage.Decode(b)
				if err != nil {
					d.t.Error(err)
				} else if r.Usage.Total() > 0 {
					list = append(list, r)
				}
			}
			return nil
		})
		if err := l.Close(context.Background()); err != nil {
			d.t.Error(err)
		}
	}
	return list
}

// once checks every crash that there was.
func (d *doomed) once(t *testing.T) {
	if len(d.list) == 0 {
		t.Error("no crash")
	}
	for name, dir := range d.list {
		for _, asksFirst := range []bool{false, true} {
			list := d.recorded(dir, asksFirst)
			if len(list) != 1 {
				t.Errorf("%s, another asks first: %v: %d records", name, asksFirst, len(list))
				continue
			}
			r := list[0]
			if got := fmt.Sprint(r.Usage.Prompt, " ", r.Usage.Completion); got != "7 11" && name != "begin not claimed" && name != "begin claimed" {
				t.Errorf("%s: it used %s", name, got)
			}
		}
	}
}

// The response begins, and its request's record must no longer have a guess of what it uses.
func TestBackgroundBegunKilled(t *testing.T) {
	d := newDoomed(t)
	d.during("begin", d.put)
	d.once(t)
}

// A stream is read to its end: its request's record tells what was used.
func TestBackgroundStreamKilled(t *testing.T) {
	d := newDoomed(t)
	d.put()
	held := false
	d.during("stream", func() { held = d.x.claims() })
	if !held {
		t.Fatal("the claim does not hold")
	}
	d.x.tally = tally{came: true, known: true, answer: d.x.usage()}
	d.x.writeDown(time.Now())
	d.keep("stream recorded")
	d.once(t)
}

// Somebody asks for the response after its end.
func TestBackgroundAskedKilled(t *testing.T) {
	d := newDoomed(t)
	d.put()
	d.x.tally = tally{came: true, known: true, later: true}
	d.x.writeDown(time.Now())
	d.during("asked", d.asking(d.x.conn.server).catchUp)
	d.once(t)
}

// failing has writes to the state store's table fail, which come through again later.
func (d *doomed) failing(do func()) {
	d.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(d.dir, "state.db"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(d.t.Context(), `CREATE TRIGGER fail BEFORE INSERT ON pending BEGIN SELECT RAISE(ABORT, 'no'); END`); err != nil {
		d.t.Fatal(err)
	}
	do()
	if _, err := db.ExecContext(d.t.Context(), `DROP TRIGGER fail`); err != nil {
		d.t.Fatal(err)
	}
}

// The state store fails when it is asked whose record it is: that is known when it answers again, or after a crash.
func TestBackgroundUnknown(t *testing.T) {
	for name, run := range map[string]func(d *doomed) (prompt int64){
		"begun": func(d *doomed) int64 {
			d.failing(func() {
				if d.x.postpone(&state.Response{ID: backgroundID, Tenant: d.x.caller.Tenant, Provider: "p"}) {
					t.Error("it is kept")
				}
			})
			d.x.tally = tally{came: true, known: true, answer: wire.Usage{Prompt: 5, Completion: 6}}
			d.x.writeDown(time.Now())
			return 5
		},
		"streamed": func(d *doomed) int64 {
			d.put()
			d.failing(func() {
				if d.x.claims() {
					t.Error("the claim holds")
				}
			})
			d.x.writeDown(time.Now())
			return 7
		},
		"asked": func(d *doomed) int64 {
			d.put()
			d.x.writeDown(time.Now())
			d.failing(func() {
				d.asking(d.x.conn.server).catchUp()
				d.asking(d.x.conn.server).catchUp()
			})
			return 7
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDoomed(t)
			prompt := run(d)
			d.keep("killed")
			s := d.x.conn.server
			s.state.Overdue(s.recordOverdue)
			for end := time.Now().Add(10 * time.Second); s.spool.Stats().Spooled < 1 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			s.state.Overdue(nil)
			d.keep("settled")
			for name, dir := range d.list {
				if list := d.recorded(dir, false); len(list) != 1 {
					t.Errorf("%s: %d records", name, len(list))
				} else if r := list[0]; name == "settled" && (r.Interrupted || r.Usage.Prompt != prompt) {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}
