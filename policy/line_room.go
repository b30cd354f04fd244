package policy

import "container/list"

// room is the places of those who wait: a limit's, or all.
type room struct {
	n       int
	parties map[partyKey]*list.List // of *waiter, who came first first
}

// place is a waiter's in a room.
type place struct {
	room *room
	key  partyKey
	at   *list.Element
}

func newRoom() *room { return &room{parties: map[partyKey]*list.List{}} }

func (r *room) enter(w *waiter) place {
	key := partyKey{w.tenant, w.priority}
	p := r.parties[key]
	if p == nil {
		p = list.New()
		r.parties[key] = p
	}
	r.n++
	return place{r, key, p.PushBack(w)}
}

func (p place) leave() {
	mates := p.room.parties[p.key]
	mates.Remove(p.at)
	if p.room.n--; mates.Len() == 0 {
		delete(p.room.parties, p.key)
	}
}

// yields is who makes way for a newcomer, nil if nobody does: of the tenant that waits with most requests in the lowest
// class, the one that came last. It does so for a higher class, and for a tenant of its own class that waits with fewer.
func (r *room) yields(to *waiter) *waiter {
	var lowest partyKey
	var most *list.List
	for key, p := range r.parties {
		if most == nil || key.priority < lowest.priority || key.priority == lowest.priority && p.Len() > most.Len() {
			lowest, most = key, p
		}
	}
	own := 0
	if p := r.parties[partyKey{to.tenant, to.priority}]; p != nil {
		own = p.Len()
	}
	if most == nil || lowest.priority > to.priority || lowest.priority == to.priority && most.Len() < own+2 {
		return nil
	}
	return most.Back().Value.(*waiter)
}

// room is that of the limit that a newcomer waits for.
func (l *line) room(w *waiter) *room {
	limit := w.needed(w.at)
	r := l.rooms[limit]
	if r == nil {
		r = newRoom()
		l.rooms[limit] = r
	}
	return r
}

// makeRoom finds who has to go so that a newcomer can wait, nil if there is a place.
func (l *line) makeRoom(w *waiter) (victim *waiter, err error) {
	r := l.rooms[w.needed(w.at)]
	switch {
	case r != nil && r.n >= w.places:
		if victim = r.yields(w); victim == nil {
			return nil, l.noPlace(w, r.n)
		}
	case l.all.n >= l.most:
		if victim = l.all.yields(w); victim == nil {
			return nil, l.overloaded(w)
		}
	}
	return victim, nil
}
