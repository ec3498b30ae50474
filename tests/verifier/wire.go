// A verifier of auditwire trails that was written from docs/verification.md. The numbers V-1 to V-46 in its
// comments are that page's rules. It keeps all that it needs of each record in memory: it is for tests.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const maxValue, maxMetadata = 16 << 20, 921_600

type field struct {
	name, kind string
	nullable   bool
}

// A schema is one version of one event type's schema, with its fields in the order of their bytes.
type schema struct {
	eventType, fingerprint string
	fields                 []field
}

type schemas struct {
	byFingerprint map[string]*schema
	versions      map[string][]*schema // newest first
}

// loadSchemas reads fingerprints.json and the files that it lists (V-3).
func loadSchemas(root string) (*schemas, error) {
	out := &schemas{map[string]*schema{}, map[string][]*schema{}}
	types, err := members(os.ReadFile(filepath.Join(root, "fingerprints.json")))
	for _, eventType := range types {
		versions, problem := members(eventType.value, err)
		err = problem
		for i, version := range versions {
			path := filepath.Join(root, "archive", version.name, eventType.name+".avsc")
			if i == len(versions)-1 {
				path = filepath.Join(root, eventType.name+".avsc")
			}
			var prints struct{ CRC64 string }
			var file struct {
				Fields []struct {
					Name string
					Type any
				}
			}
			raw, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(raw, &file)
			}
			if err == nil {
				err = json.Unmarshal(version.value, &prints)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			s := &schema{eventType: eventType.name, fingerprint: prints.CRC64}
			for _, f := range file.Fields {
				union, nullable := f.Type.([]any)
				if nullable {
					f.Type = union[1] // null is the first
				}
				if nested, ok := f.Type.(map[string]any); ok {
					f.Type = nested["type"] // an array of strings, or a long with a logical type
				}
				s.fields = append(s.fields, field{f.Name, f.Type.(string), nullable})
			}
			out.byFingerprint[s.fingerprint] = s
			out.versions[s.eventType] = append([]*schema{s}, out.versions[s.eventType]...)
		}
	}
	return out, err
}

type member struct {
	name  string
	value json.RawMessage
}

// members returns an object's members in their order, which Go's maps lose.
func members(raw []byte, err error) (out []member, _ error) {
	in := json.NewDecoder(bytes.NewReader(raw))
	if err == nil {
		_, err = in.Token()
	}
	for err == nil && in.More() {
		var one member
		var name json.Token
		if name, err = in.Token(); err == nil {
			one.name, err = name.(string), in.Decode(&one.value)
			out = append(out, one)
		}
	}
	return out, err
}

// A body is what a value holds behind its framing, decoded.
type body struct {
	*schema
	fields map[string]any
	digest string // V-6; the bytes, not their digits
}

func (b *body) text(name string) string    { text, _ := b.fields[name].(string); return text }
func (b *body) number(name string) int64   { return b.fields[name].(int64) }
func (b *body) texts(name string) []string { return b.fields[name].([]string) }
func (b *body) typeKey() string            { return b.eventType + ":" + b.fingerprint } // V-7

// decode reads a value, nil for none (V-2 to V-4). A reason, when there is one, says why it is no record.
func (s *schemas) decode(value []byte) (*body, string) {
	switch {
	case value == nil:
		return nil, "tombstone"
	case len(value) > maxValue:
		return nil, "oversized"
	case bytes.HasPrefix(value, []byte{0xC3, 0x01}):
		if len(value) < 10 {
			return nil, "truncated"
		}
		known := s.byFingerprint[hex.EncodeToString(value[2:10])]
		if known == nil {
			return nil, "unknown_fingerprint"
		}
		return known.read(value[10:])
	case len(value) >= 5 && value[0] == 0:
		if int32(binary.BigEndian.Uint32(value[1:5])) >= 0 {
			return s.decodeUnnamed(value[5:])
		}
	}
	return nil, "foreign"
}

func (s *schemas) decodeUnnamed(raw []byte) (out *body, reason string) {
	in := reader{raw: raw}
	in.text()
	eventType := in.text()
	switch versions := s.versions[eventType]; {
	case in.bad != "" || versions == nil:
		return nil, "foreign"
	default:
		for i := len(versions) - 1; i >= 0; i-- { // the newest one that fits, or else its reason
			if fits, bad := versions[i].read(raw); bad == "" || i == 0 && out == nil {
				out, reason = fits, bad
			}
		}
		return out, reason
	}
}

func (s *schema) read(raw []byte) (*body, string) {
	in := reader{raw: raw}
	out := &body{s, make(map[string]any, len(s.fields)), ""}
	for _, f := range s.fields {
		out.fields[f.name] = in.value(f)
	}
	switch metadata, _ := out.fields["metadata"].(string); {
	case in.bad != "":
		return nil, in.bad
	case in.at != len(raw):
		return nil, "trailing_bytes"
	case out.fields["event_type"] != s.eventType || out.number("sequence") < 0:
		return nil, "malformed"
	case utf8.RuneCountInString(metadata) > maxMetadata:
		return nil, "oversized"
	case !strings.HasPrefix(strings.TrimLeft(metadata, " \t\r\n"), "{") || !json.Valid([]byte(metadata)):
		return nil, "malformed"
	}
	digest := sha256.Sum256(raw)
	out.digest = string(digest[:])
	return out, ""
}

// A reader takes Avro's types from a body. The first thing that is wrong stays in bad; all after it is zero.
type reader struct {
	raw []byte
	at  int
	bad string
}

func (r *reader) fail(reason string) {
	if r.bad == "" {
		r.bad = reason
	}
	r.at = len(r.raw)
}

func (r *reader) take(n int64) []byte {
	if n < 0 {
		r.fail("malformed")
	} else if n > int64(len(r.raw)-r.at) {
		r.fail("truncated")
	} else {
		r.at += int(n)
		return r.raw[r.at-int(n) : r.at]
	}
	return nil
}

func (r *reader) long() int64 {
	var number uint64
	for shift := 0; ; shift += 7 {
		got := r.take(1)
		if got == nil {
			return 0
		}
		if shift == 63 && got[0] > 1 { // the tenth byte has room for one bit
			r.fail("malformed")
			return 0
		}
		number |= uint64(got[0]&0x7F) << shift
		if got[0] < 0x80 {
			return int64(number>>1) ^ -int64(number&1)
		}
	}
}

func (r *reader) text() string {
	raw := r.take(r.long())
	if !utf8.Valid(raw) { // refuses surrogates
		r.fail("malformed")
		return ""
	}
	return string(raw)
}

func (r *reader) array() []string {
	out := []string{}
	for r.bad == "" {
		count, end := r.long(), -1
		if count == 0 {
			break
		}
		if count < 0 {
			count = -count
			if size := r.long(); size < 0 || size > int64(len(r.raw)-r.at) {
				r.fail("malformed")
			} else {
				end = r.at + int(size)
			}
		}
		if count < 0 || count > int64(len(r.raw)-r.at) { // an item has one byte at least
			r.fail("truncated")
		}
		for ; count > 0 && r.bad == ""; count-- {
			out = append(out, r.text())
		}
		if end >= 0 && r.at != end {
			r.fail("malformed")
		}
	}
	return out
}

func (r *reader) value(f field) any {
	if f.nullable {
		switch r.long() {
		case 0:
			return nil
		case 1:
		default:
			r.fail("malformed")
			return nil
		}
	}
	switch f.kind {
	case "string":
		return r.text()
	case "long":
		return r.long()
	case "array":
		return r.array()
	case "boolean":
		got := r.take(1)
		if got != nil && got[0] > 1 {
			r.fail("malformed")
		}
		return got != nil && got[0] == 1
	case "double":
		if got := r.take(8); got != nil {
			return math.Float64frombits(binary.LittleEndian.Uint64(got))
		}
		return 0.0
	}
	panic("no type of the contract: " + f.kind)
}
