package main

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// quietRounds is how often something is tried that a machine with other work to do can spoil.
const quietRounds = 6

// quietly runs what has to happen within moments until once it does. What goes wrong in a round counts only when it does so in
// each: a pause of the machine comes now and then, a mistake of the gateway every time.
func quietly(t *testing.T, round func(t testing.TB)) {
	t.Helper()
	for try := 1; ; try++ {
		r := &quietRound{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			round(r)
		}()
		<-done
		switch {
		case !r.Failed():
			return
		case try == quietRounds:
			t.Fatalf("in each of %d rounds something was wrong, in the last one:\n%s", try, r)
		}
		t.Logf("round %d: %s", try, r)
	}
}

// quietRound takes down what one round finds wrong.
type quietRound struct {
	testing.TB
	mu    sync.Mutex
	wrong []string
}

func (r *quietRound) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, text)
}

func (r *quietRound) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.wrong) > 0
}

func (r *quietRound) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.wrong, "\n")
}

func (r *quietRound) Error(args ...any)                 { r.note(fmt.Sprintln(args...)) }
func (r *quietRound) Errorf(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }
func (r *quietRound) Fail()                             { r.note("it failed") }

func (r *quietRound) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *quietRound) Fatal(args ...any) {
	r.note(fmt.Sprintln(args...))
	runtime.Goexit()
}

func (r *quietRound) Fatalf(format string, args ...any) {
	r.note(fmt.Sprintf(format, args...))
	runtime.Goexit()
}
