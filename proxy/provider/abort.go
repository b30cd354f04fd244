package provider

import (
	"errors"
	"io"
	"sync"
)

// ErrAborted is the cause of every failure that follows Abort.Fire.
var ErrAborted = errors.New("aborted: the client left")

// Abort stops one request's upstream work from another goroutine: it closes the connection that the work waits on.
// The zero value is ready for use.
type Abort struct {
	mu      sync.Mutex
	conn    io.Closer
	beside  *Abort // fires with this one
	fired   bool
	stopped bool
}

// Fire closes the connection held now, and every one held later until Reset.
func (a *Abort) Fire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fired = true
	a.close()
	if a.beside != nil {
		a.beside.Fire()
	}
}

// Stop does the same to the work of this Abort alone: what is beside it goes on, and is still fired with it.
func (a *Abort) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	a.close()
}

// Resume ends a Stop: what was held then is gone, what is held from now on is not stopped.
func (a *Abort) Resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = false
}

func (a *Abort) close() {
	if a.conn != nil {
		_ = a.conn.Close() // a failed close leaves nothing to do
	}
}

// Beside has another Abort, of work for the same request, fire whenever this one does, until Reset; nil: none any more.
func (a *Abort) Beside(other *Abort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.beside = other; other != nil && a.fired {
		other.Fire()
	}
}

// Fired tells whether the work was called off.
func (a *Abort) Fired() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fired || a.stopped
}

// Reset makes the Abort ready for the next request.
func (a *Abort) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn, a.beside, a.fired, a.stopped = nil, nil, false, false
}

// Hold puts conn at stake. It is false when the work was already called off.
func (a *Abort) Hold(conn io.Closer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = conn
	return !a.fired && !a.stopped
}

// LetGo takes the connection out of Fire's reach; afterwards it may serve another request. It is false when Fire came
// first, and the connection is dead.
func (a *Abort) LetGo() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = nil
	return !a.fired && !a.stopped
}
