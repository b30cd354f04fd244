package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// engine is libchdb with one connection to the data of a folder. A process can have no other.
type engine struct {
	turn       sync.Mutex // settings belong to the connection: one query at a time
	connection unsafe.Pointer

	connect     func(argc int32, argv unsafe.Pointer) *unsafe.Pointer
	queryN      func(connection, query unsafe.Pointer, n uintptr, format unsafe.Pointer, formatN uintptr) unsafe.Pointer
	buffer      func(result unsafe.Pointer) unsafe.Pointer
	length      func(result unsafe.Pointer) uintptr
	failure     func(result unsafe.Pointer) string
	destroy     func(result unsafe.Pointer)
	takeSignals func(on bool)
}

func load(lib string, options []string) (*engine, error) {
	handle, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, err
	}
	e := &engine{}
	for name, function := range map[string]any{
		"chdb_connect": &e.connect, "chdb_query_n": &e.queryN, "chdb_result_buffer": &e.buffer, "chdb_result_length": &e.length,
		"chdb_result_error": &e.failure, "chdb_destroy_query_result": &e.destroy, "chdb_set_signal_handlers_enabled": &e.takeSignals,
	} {
		purego.RegisterLibFunc(function, handle, name)
	}
	e.takeSignals(false) // Go has its own
	args := []unsafe.Pointer{terminated("chdb")}
	for _, o := range options {
		args = append(args, terminated(o))
	}
	connection := e.connect(int32(len(args)), unsafe.Pointer(&args[0])) //nolint:gosec // a few
	runtime.KeepAlive(args)
	if connection == nil {
		return nil, fmt.Errorf("libchdb cannot open %v", options)
	}
	e.connection = *connection
	return e, nil
}

// terminated is a string as C has it.
func terminated(s string) unsafe.Pointer {
	b := append([]byte(s), 0)
	return unsafe.Pointer(&b[0])
}

// query answers in a format, where the query does not name one.
func (e *engine) query(query, format string) ([]byte, error) {
	q := []byte(query)
	f := terminated(format)
	result := e.queryN(e.connection, unsafe.Pointer(&q[0]), uintptr(len(q)), f, uintptr(len(format)))
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	if result == nil {
		return nil, errors.New("Code: 1001. libchdb gave no result")
	}
	defer e.destroy(result)
	if failure := e.failure(result); failure != "" {
		return nil, errors.New(failure)
	}
	n := e.length(result)
	if n == 0 {
		return nil, nil
	}
	return append([]byte(nil), unsafe.Slice((*byte)(e.buffer(result)), n)...), nil
}

// run is a query with a database and settings of its own.
func (e *engine) run(query, format, database string, settings map[string]string) ([]byte, error) {
	e.turn.Lock()
	defer e.turn.Unlock()
	if database != "" {
		if _, err := e.query("USE `"+strings.ReplaceAll(database, "`", "\\`")+"`", "Null"); err != nil {
			return nil, err
		}
	}
	for name, value := range settings {
		if _, err := e.query(fmt.Sprintf("SET %s = %s", name, literal(value)), "Null"); err != nil {
			return nil, err
		}
		defer e.query("SET "+name+" = DEFAULT", "Null") //nolint:errcheck // it could be set
	}
	return e.query(query, format)
}

func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
