package wire

import "bytes"

// readPlainUsage reads what nearly every provider sends, names with whole numbers and objects of these, at a fifth of
// the general reader's cost: it is on the way of every answer. It is false for anything else.
func readPlainUsage(b []byte) (u Usage, plain bool) {
	var total int64
	var inside byte // the details being read: p of the prompt, c of the completion, 0 neither
	for i := 1; i < len(b); {
		switch b[i] {
		case ' ', '\n', '\r', '\t', ',':
			i++
			continue
		case '}':
			i++
			if inside != 0 {
				inside = 0
				continue
			}
			if u.Prompt == 0 && u.Completion == 0 {
				u.Prompt = total
			}
			return u, i == len(b)
		case '"':
		default:
			return u, false
		}
		key, at := memberAt(b, i)
		if key == nil || at >= len(b) {
			return u, false
		}
		if b[at] == '{' {
			if inside = detailsOf(key, inside); inside == 0 {
				return u, false
			}
			i = at + 1
			continue
		}
		n, end := wholeNumber(b, at)
		if end == at || n > mostTokens {
			return u, false
		}
		u.take(inside, key, n, &total)
		i = end
	}
	return u, false
}

// memberAt returns a member's name, and where its value begins.
func memberAt(b []byte, i int) (key []byte, at int) {
	n := bytes.IndexByte(b[i+1:], '"')
	if n < 0 {
		return nil, 0
	}
	key = b[i+1 : i+1+n]
	at = i + n + 2
	colon := false
	for ; at < len(b); at++ {
		switch b[at] {
		case ':':
			if colon {
				return nil, 0
			}
			colon = true
		case ' ', '\n', '\r', '\t':
		default:
			if !colon || bytes.IndexByte(key, '\\') >= 0 {
				return nil, 0
			}
			return key, at
		}
	}
	return nil, 0
}

func detailsOf(key []byte, inside byte) byte {
	if inside != 0 {
		return 0
	}
	switch string(key) {
	case "prompt_tokens_details", "input_tokens_details":
		return 'p'
	case "completion_tokens_details", "output_tokens_details":
		return 'c'
	}
	return 0
}

// wholeNumber reads digits; end is at where there are none, too many, or more than digits.
func wholeNumber(b []byte, at int) (n int64, end int) {
	for end = at; end < len(b) && b[end] >= '0' && b[end] <= '9'; end++ {
		n = n*10 + int64(b[end]-'0')
	}
	if end-at > 15 || end == len(b) || bytes.IndexByte([]byte(",} \n\r\t"), b[end]) < 0 {
		return 0, at
	}
	return n, end
}

func (u *Usage) take(inside byte, key []byte, n int64, total *int64) {
	switch string(key) {
	case "prompt_tokens", "input_tokens":
		if inside == 0 {
			u.Prompt = n
		}
	case "completion_tokens", "output_tokens":
		if inside == 0 {
			u.Completion = n
		}
	case "total_tokens":
		if inside == 0 {
			*total = n
		}
	case "cached_tokens":
		if inside == 'p' {
			u.CachedPrompt = n
		}
	case "cache_write_tokens":
		if inside == 'p' {
			u.CacheWrite = n
		}
	case "reasoning_tokens":
		if inside == 'c' {
			u.Reasoning = n
		}
	case "image_tokens":
		if inside == 'p' {
			u.ImageIn = n
		}
	case "seconds":
		if inside == 0 {
			u.Millis = min(n, 1e9) * 1000
		}
	case "audio_tokens":
		if inside != 0 {
			u.Audio += n
		}
		if inside == 'c' {
			u.AudioOut = n
		}
	}
}
