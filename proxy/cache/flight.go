package cache

// Flight is one request that is being answered while others like it wait for what comes of it.
type Flight struct {
	done  chan struct{}
	entry *Entry
	alone bool
}

// Join is the flight under a key. Who leads it asks for all, and must Land it.
func (c *Cache) Join(key Key) (f *Flight, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f = c.flights[key]; f != nil {
		return f, false
	}
	f = &Flight{done: make(chan struct{})}
	c.flights[key] = f
	return f, true
}

// Land ends a flight with the answer, nil where it is not to be shared. alone: the answers of the others could not be shared either,
// so that they need not wait for one of them.
func (c *Cache) Land(key Key, f *Flight, e *Entry, alone bool) {
	c.mu.Lock()
	delete(c.flights, key)
	c.mu.Unlock()
	f.entry, f.alone = e, alone
	close(f.done)
}

// Done is closed when the flight has ended.
func (f *Flight) Done() <-chan struct{} { return f.done }

// Answer is what came of a flight that has ended, nil for nothing. alone: whoever waited goes himself.
func (f *Flight) Answer() (e *Entry, alone bool) { return f.entry, f.alone }
