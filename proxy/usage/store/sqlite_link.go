package store

import (
	"context"
	"fmt"
	"strings"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// This file speaks to SQLite without the driver between, which costs as much again as SQLite does: it looks up the name of every
// value, locks for each, and has values on the heap.

// link is a connection. It is for one goroutine at a time.
type link struct {
	tls   *libc.TLS
	db    uintptr
	out   uintptr // where SQLite says the address of what it has made
	known map[string]*statement
}

// liteError is what SQLite says, and its extended code.
type liteError struct {
	code int32
	text string
}

func (e *liteError) Error() string { return fmt.Sprintf("%s (%d)", e.text, e.code) }

// dial opens a connection to a database that is there already.
func dial(uri string, pragmas ...string) (*link, error) {
	l := &link{tls: libc.NewTLS(), known: map[string]*statement{}}
	l.out = sqlite3.Xsqlite3_malloc(l.tls, int32(unsafe.Sizeof(l.db)))
	name, err := libc.CString(uri)
	if err != nil {
		return nil, err
	}
	code := sqlite3.Xsqlite3_open_v2(l.tls, name, l.out, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_URI, 0)
	libc.Xfree(l.tls, name)
	l.db = *(*uintptr)(address(l.out))
	if err = l.failure(code); err == nil {
		_ = sqlite3.Xsqlite3_extended_result_codes(l.tls, l.db, 1)
	}
	for i := 0; i < len(pragmas) && err == nil; i++ {
		err = l.exec("PRAGMA " + pragmas[i])
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// address is where SQLite has something, which Go's collector knows nothing of.
func address(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func (l *link) failure(code int32) error {
	switch code {
	case sqlite3.SQLITE_OK, sqlite3.SQLITE_ROW, sqlite3.SQLITE_DONE:
		return nil
	}
	return &liteError{code, libc.GoString(sqlite3.Xsqlite3_errmsg(l.tls, l.db))}
}

func (l *link) close() {
	for _, s := range l.known {
		s.close()
	}
	_ = sqlite3.Xsqlite3_close_v2(l.tls, l.db)
	sqlite3.Xsqlite3_free(l.tls, l.out)
	l.tls.Close()
}

// configure turns an option of the connection on or off.
func (l *link) configure(option int32, on bool) {
	value := int32(0)
	if on {
		value = 1
	}
	room := libc.Xmalloc(l.tls, 2*8) // a slot of 8 bytes each
	defer libc.Xfree(l.tls, room)
	_ = sqlite3.Xsqlite3_db_config(l.tls, l.db, option, libc.VaList(room, value, uintptr(0)))
}

// moved tells that the file is not where it was opened any more, as it was deleted or another one is there. Not every system can say.
func (l *link) moved() bool {
	flag := (*int32)(address(l.out))
	*flag = 0
	code := sqlite3.Xsqlite3_file_control(l.tls, l.db, 0, sqlite3.SQLITE_FCNTL_HAS_MOVED, l.out)
	return code == sqlite3.SQLITE_OK && *flag != 0
}

// exec runs a statement that is not run again soon.
func (l *link) exec(text string) error {
	s, err := l.prepare(text)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run()
}

// run runs a statement that stays.
func (l *link) run(text string) error {
	s, err := l.keep(text)
	if err != nil {
		return err
	}
	return s.run()
}

// keep makes a statement that stays for the next time.
func (l *link) keep(text string) (s *statement, err error) {
	if s = l.known[text]; s == nil {
		if s, err = l.prepare(text); err == nil {
			l.known[text] = s
		}
	}
	return s, err
}

func (l *link) prepare(text string) (*statement, error) {
	name, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(l.tls, name)
	if err := l.failure(sqlite3.Xsqlite3_prepare_v2(l.tls, l.db, name, -1, l.out, 0)); err != nil {
		return nil, err
	}
	s := &statement{link: l, at: *(*uintptr)(address(l.out))}
	s.slots = make([]slot, strings.Count(text, "?"))
	return s, nil
}

// statement is one that was prepared. Values are put into its parameters in their order; what a parameter has still from the time
// before is not put there again.
type statement struct {
	*link
	at    uintptr
	slots []slot
	next  int       // of slots
	code  int32     // of a value that could not be put
	texts []byte    // SQLite's memory, that texts are copied to: Go may not have SQLite keep addresses of its own
	used  int       // of texts
	large []uintptr // texts that have no room there
}

// slot is what a parameter has.
type slot struct {
	kind   int8 // 0: NULL
	number int64
}

const (
	numberSlot = 1 + iota
	otherSlot
)

// textRoom is what the texts of a statement may take together before each gets memory of its own.
const textRoom = 16 << 10

func (s *statement) null() {
	if s.slots[s.next].kind != 0 {
		s.slots[s.next] = slot{}
		s.code |= sqlite3.Xsqlite3_bind_null(s.tls, s.at, int32(s.next+1))
	}
	s.next++
}

func (s *statement) int(n int64) {
	if have := (slot{numberSlot, n}); s.slots[s.next] != have {
		s.slots[s.next] = have
		s.code |= sqlite3.Xsqlite3_bind_int64(s.tls, s.at, int32(s.next+1), n)
	}
	s.next++
}

func (s *statement) ints(list ...int64) {
	for _, n := range list {
		s.int(n)
	}
}

func (s *statement) float(f float64) {
	s.slots[s.next].kind = otherSlot
	s.next++
	s.code |= sqlite3.Xsqlite3_bind_double(s.tls, s.at, int32(s.next), f)
}

func (s *statement) text(t string) {
	p := s.room(len(t))
	copy(unsafe.Slice((*byte)(address(p)), len(t)), t)
	s.slots[s.next].kind = otherSlot
	s.next++
	s.code |= sqlite3.Xsqlite3_bind_text(s.tls, s.at, int32(s.next), p, int32(len(t)), sqlite3.SQLITE_STATIC)
}

// some is NULL for what most requests do not have: it costs less to write.
func (s *statement) some(t string) {
	if t == "" {
		s.null()
	} else {
		s.text(t)
	}
}

func (s *statement) blob(b []byte) {
	p := s.room(len(b))
	copy(unsafe.Slice((*byte)(address(p)), len(b)), b)
	s.slots[s.next].kind = otherSlot
	s.next++
	s.code |= sqlite3.Xsqlite3_bind_blob(s.tls, s.at, int32(s.next), p, int32(len(b)), sqlite3.SQLITE_STATIC)
}

// room is memory for a text until the statement has run.
func (s *statement) room(n int) uintptr {
	if s.texts == nil {
		s.texts = unsafe.Slice((*byte)(address(sqlite3.Xsqlite3_malloc(s.tls, textRoom))), textRoom)
	}
	if n < textRoom-s.used {
		s.used += n
		return uintptr(unsafe.Pointer(&s.texts[s.used-n]))
	}
	p := sqlite3.Xsqlite3_malloc(s.tls, int32(n)+1)
	s.large = append(s.large, p)
	return p
}

// value puts what a column gives.
func (s *statement) value(v any) {
	switch v := v.(type) {
	case nil:
		s.null()
	case int64:
		s.int(v)
	case float64:
		s.float(v)
	case bool:
		s.int(bit(v))
	case string:
		s.text(v)
	default:
		panic(fmt.Sprintf("BUG: %T is no value for SQLite", v))
	}
}

// step goes on to the next row, if there is one.
func (s *statement) step() (row bool, err error) {
	if s.code != 0 {
		return false, &liteError{s.code, "a value cannot be kept"}
	}
	code := sqlite3.Xsqlite3_step(s.tls, s.at)
	return code == sqlite3.SQLITE_ROW, s.failure(code)
}

// number is a value of a row.
func (s *statement) number(column int) int64 {
	return sqlite3.Xsqlite3_column_int64(s.tls, s.at, int32(column))
}

func (s *statement) isNull(column int) bool {
	return sqlite3.Xsqlite3_column_type(s.tls, s.at, int32(column)) == sqlite3.SQLITE_NULL
}

// bytes are a text or blob of a row, until the next one.
func (s *statement) bytes(column int) []byte {
	p := sqlite3.Xsqlite3_column_blob(s.tls, s.at, int32(column))
	return unsafe.Slice((*byte)(address(p)), sqlite3.Xsqlite3_column_bytes(s.tls, s.at, int32(column)))
}

// done has the statement ready for the next time.
func (s *statement) done() {
	_ = sqlite3.Xsqlite3_reset(s.tls, s.at) // it says once more what step did
	s.next, s.used, s.code = 0, 0, 0
	for _, p := range s.large {
		sqlite3.Xsqlite3_free(s.tls, p)
	}
	s.large = s.large[:0]
}

// each calls do for each row, until ctx is done.
func (s *statement) each(ctx context.Context, do func() error) error {
	defer s.done()
	for n := 0; ; n++ {
		row, err := s.step()
		if n%1024 == 0 && err == nil {
			err = ctx.Err()
		}
		if err == nil && row {
			err = do()
		}
		if err != nil || !row {
			return err
		}
	}
}

func (s *statement) run() error {
	return s.each(context.Background(), func() error { return nil })
}

// one runs a statement for its one number.
func (s *statement) one() (n int64, err error) {
	row, err := s.step()
	if row {
		n = s.number(0)
	}
	s.done()
	return n, err
}

func (s *statement) close() {
	_ = sqlite3.Xsqlite3_finalize(s.tls, s.at)
	if s.texts != nil {
		sqlite3.Xsqlite3_free(s.tls, uintptr(unsafe.Pointer(&s.texts[0])))
	}
}
