package admin

import (
	"crypto/rand"
	"hash/crc32"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// A key is KeyPrefix, randomLetters letters and digits that nobody can guess (190 bits) and checkLetters more: the CRC-32
// (IEEE) of all before them, in base 62, most significant first. So those who look for leaked secrets find it with the
// pattern jv-[0-9A-Za-z]{38} and can tell, without asking anyone, that it is no accident.
const (
	KeyPrefix     = "jv-"
	randomLetters = 32
	checkLetters  = 6
	letters       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewKey makes a key that nobody can guess.
func NewKey() wire.Secret {
	return wire.Secret(appendCheck(appendRandom([]byte(KeyPrefix), randomLetters)))
}

// newID makes what a key is called by. It is no secret.
func newID() string { return string(appendRandom([]byte("key_"), 20)) }

func appendRandom(dst []byte, n int) []byte {
	for n > 0 {
		var b [64]byte
		rand.Read(b[:]) // never fails
		for _, c := range b {
			if int(c) < 4*len(letters) && n > 0 { // above, some letters would come more often
				dst = append(dst, letters[int(c)%len(letters)])
				n--
			}
		}
	}
	return dst
}

func appendCheck(key []byte) []byte {
	sum := crc32.ChecksumIEEE(key)
	var check [checkLetters]byte
	for i := range check {
		check[checkLetters-1-i] = letters[sum%uint32(len(letters))]
		sum /= uint32(len(letters))
	}
	return append(key, check[:]...)
}

// WellFormed tells whether a text could be a key that NewKey made.
func WellFormed(key string) bool {
	if len(key) != len(KeyPrefix)+randomLetters+checkLetters || !strings.HasPrefix(key, KeyPrefix) ||
		strings.Trim(key[len(KeyPrefix):], letters) != "" {
		return false
	}
	return string(appendCheck([]byte(key[:len(key)-checkLetters]))) == key
}
