package wire

import "iter"

// Members are the fields of the body, each as it is written, with its name: "model":"m".
func (b *Body) Members() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, member []byte) bool) {
		s := scanner{raw: b.raw}
		i := skip(b.raw, skip(b.raw, 0)+1)
		for b.raw[i] != '}' {
			named, err := s.text(i + 1)
			if err != nil {
				return
			}
			end, err := s.value(skip(b.raw, skip(b.raw, named)+1), 1, opaque)
			if err != nil || !yield(b.raw[i+1:named-1], b.raw[i:end]) {
				return
			}
			if i = skip(b.raw, end); b.raw[i] == ',' {
				i = skip(b.raw, i+1)
			}
		}
	}
}
