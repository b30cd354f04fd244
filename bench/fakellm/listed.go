package fakellm

// event is a ready stream event.
type event struct {
	data []byte
	part part
}

// listed is a script of ready events.
type listed struct{ events []event }

func (s *listed) next(dst []byte) ([]byte, part) {
	if len(s.events) == 0 {
		return dst, end
	}
	e := s.events[0]
	s.events = s.events[1:]
	return append(dst, e.data...), e.part
}

// add appends an event with the given JSON as data; a name makes it a named event.
func (s *listed) add(p part, name string, json []byte) {
	var b []byte
	if name != "" {
		b = append(append(append(b, "event: "...), name...), '\n')
	}
	b = append(append(append(b, "data: "...), json...), "\n\n"...)
	s.events = append(s.events, event{b, p})
}

// stream is the answer that plays the events; hidden are completion tokens that none of them carries.
func (s *listed) stream(hidden int) answer {
	a := answer{ctype: sseType, script: s, hidden: hidden}
	for _, e := range s.events {
		if e.part == content {
			a.parts++
		}
	}
	return a
}
