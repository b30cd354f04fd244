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
	mu    sync.Mutex
	conn  io.Closer
	fired bool
}

// Fire closes the connection held now, and every one held later until Reset.
func (a *Abort) Fire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fired = true
	if a.conn != nil {
		_ = a.conn.Close() // a failed close leaves nothing to do
	}
}

// Fired tells whether the work was called off.
func (a *Abort) Fired() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fired
}

// Reset makes the Abort ready for the next request.
func (a *Abort) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn, a.fired = nil, false
}

// Hold puts conn at stake. It is false when the work was already called off.
func (a *Abort) Hold(conn io.Closer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = conn
	return !a.fired
}

// LetGo takes the connection out of Fire's reach; afterwards it may serve another request. It is false when Fire came
// first, and the connection is dead.
func (a *Abort) LetGo() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = nil
	return !a.fired
}
