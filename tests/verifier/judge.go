package main

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

const (
	hour = 3_600_000 // milliseconds
	none = int64(-1) // no sequence
)

type message struct {
	topic      string
	partition  int32
	offset, ms int64
	key        []byte // nil: none
	headers    []header
	value      []byte // nil: none
	counted    bool   // below E1 (V-40)
}

type header struct {
	name  string
	value []byte
}

// A record is a message of ours.
type record struct {
	*body
	stream   string
	sequence int64
	ms       int64
	latest   int64 // the latest time of an event with this sequence, in the first record
	counted  bool
}

// span is a range of sequences: the first and the last.
type span [2]int64

type report struct {
	StreamID         string   `json:"stream_id"`
	Verdict          string   `json:"verdict"`
	Records          int      `json:"records"`
	Duplicates       int      `json:"duplicates"`
	LastSequence     int64    `json:"last_sequence"`
	SealedTo         int64    `json:"sealed_to"`
	Acknowledged     int64    `json:"acknowledged"`
	Closed           bool     `json:"closed"`
	Recoveries       int      `json:"recoveries"`
	RecoveredTo      int64    `json:"recovered_to"`
	MachineRestarted bool     `json:"machine_restarted"`
	DeclaredLost     int64    `json:"declared_lost"`
	Missing          []span   `json:"missing"`
	Awaited          []span   `json:"awaited"`
	Unreadable       []span   `json:"unreadable"`
	Unaccounted      []span   `json:"unaccounted"`
	Removed          []span   `json:"removed"`
	Unproven         []span   `json:"unproven"`
	Antedated        []span   `json:"antedated"`
	Withheld         []int64  `json:"withheld"`
	AbsentStreams    []string `json:"absent_streams"`
	Faults           [][2]any `json:"faults"`
	sealed           bool     // V-45
	seen             map[[2]any]bool
}

func (r *report) fault(kind string, sequence int64) {
	if fault := [2]any{kind, sequence}; !r.seen[fault] {
		r.seen[fault] = true
		r.Faults = append(r.Faults, fault)
	}
}

// A naming is a line of previous (V-18).
type naming struct {
	stream   string
	sequence int64
	digest   string
	counted  bool
}

// A stream is what there is of it, and what other streams say of it.
type stream struct {
	report
	variants    map[int64][]*record // the first of each is "held"
	sequences   []int64             // the keys of variants, rising
	early       []*record           // with a Kafka timestamp before the event's
	quarantines []*record
	recoveries  []*record
	namings     []naming
}

type trail struct {
	streams  map[string]*stream
	topics   map[string]string // event type -> topic, where it was given one
	settled  bool
	horizon  int64          // milliseconds; 0 excuses nothing
	problems map[string]int // values that are no records, by reason
}

func newTrail(topics map[string]string, settled bool, horizon int64) *trail {
	return &trail{map[string]*stream{}, topics, settled, horizon, map[string]int{}}
}

// excuses applies V-34 to absent records with so many below them that are there.
func (c *court) excuses(below int) bool {
	times, id := []int64{}, c.StreamID
	if isUUID7.MatchString(id) {
		opened, _ := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
		times = append(times, opened)
	}
	if below > 0 {
		times = append(times, c.latest[below-1])
	}
	if len(times) == 0 && below < len(c.sequences) {
		times = append(times, c.held(c.sequences[below]).latest)
	}
	excused := c.horizon > 0 && len(times) > 0
	for _, ms := range times {
		excused = excused && ms < c.horizon
	}
	return excused
}

func (t *trail) stream(id string) *stream {
	if t.streams[id] == nil {
		t.streams[id] = &stream{variants: map[int64][]*record{}, report: report{
			StreamID: id, LastSequence: none, SealedTo: none, RecoveredTo: none, seen: map[[2]any]bool{},
			Missing: []span{}, Awaited: []span{}, Unreadable: []span{}, Unaccounted: []span{}, Removed: []span{},
			Antedated: []span{}, Withheld: []int64{}, AbsentStreams: []string{}, Faults: [][2]any{},
		}}
	}
	return t.streams[id]
}

// add takes a message, of which b was read.
func (t *trail) add(m *message, b *body) {
	r := &record{b, b.text("stream_id"), b.number("sequence"), m.ms, eventMS(b), m.counted}
	s := t.stream(r.stream)
	if t.misplaced(m, b) {
		s.fault("placement", r.sequence)
	}
	if 0 <= r.ms && r.ms < eventMS(b) {
		s.early = append(s.early, r)
	}
	switch b.eventType {
	case "quarantine":
		about := t.stream(b.text("quarantined_stream"))
		about.quarantines = append(about.quarantines, r)
	case "recovery":
		about := t.stream(b.text("orphan_stream"))
		about.recoveries = append(about.recoveries, r)
	case "checkpoint":
		for _, line := range b.texts("previous") {
			if found, ok := namingOf(line); ok {
				found.counted = m.counted
				about := t.stream(found.stream)
				about.namings = append(about.namings, found)
			}
		}
	}
	if s.isVariant(r.sequence, b.digest, b.typeKey()) {
		s.Duplicates++ // V-8
	} else {
		s.variants[r.sequence] = append(s.variants[r.sequence], r)
	}
	first := s.held(r.sequence)
	first.latest = max(first.latest, r.latest)
}

// misplaced applies V-36 to V-38.
func (t *trail) misplaced(m *message, b *body) bool {
	ending := "." + strings.ReplaceAll(b.eventType, "_", "-")
	if topic, given := t.topics[b.eventType]; given && m.topic != topic || !given && !strings.HasSuffix(m.topic, ending) {
		return true
	}
	key, id := b.text("session_id"), b.text("stream_id")
	if key == "" {
		key = id
	}
	if m.key != nil && string(m.key) != key {
		return true
	}
	wanted := map[string]string{"ce_id": b.text("event_id"), "ce_type": "auditwire." + b.eventType}
	there := map[string]bool{}
	trace, span := b.text("trace_id"), b.text("span_id")
	parent, wrong := "00-"+trace+"-"+span+"-01", false
	for _, h := range m.headers {
		value := string(h.value)
		want, known := wanted[h.name]
		there[h.name] = true
		wrong = wrong || known && (h.value == nil || value != want)
		if slash := strings.LastIndex(value, "/"); h.name == "ce_source" && slash >= 0 {
			wrong = wrong || strings.HasPrefix(value[:slash], "/auditwire/") && value[slash+1:] != id
		}
		there["parent"] = there["parent"] || h.name == "traceparent" && value == parent
	}
	if !there["ce_id"] && !there["ce_type"] {
		return false
	}
	traced := isTrace.MatchString(parent) && strings.Trim(trace, "0") != "" && strings.Trim(span, "0") != ""
	return wrong || !there["ce_id"] || !there["ce_type"] || traced && !there["parent"]
}

var (
	isUUID7  = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	isTrace  = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)
	isEntry  = regexp.MustCompile(`^[A-Za-z0-9_-]{44}$`)
	isNaming = regexp.MustCompile(`^([^:]+):([0-9]{1,19}):([0-9a-f]{64})$`)
)

func namingOf(line string) (naming, bool) {
	found := isNaming.FindStringSubmatch(line)
	if found == nil {
		return naming{}, false
	}
	sequence, err := strconv.ParseInt(found[2], 10, 64) // 19 digits may be too many
	digest, _ := hex.DecodeString(found[3])
	return naming{found[1], sequence, string(digest), false}, err == nil
}

func eventMS(b *body) int64 {
	us := b.number("timestamp")
	if us%1000 < 0 {
		return us/1000 - 1
	}
	return us / 1000
}

// An item is what an entry says of one record (V-11).
type item struct {
	sequence        int64
	digest, typeKey string
}

// items returns what a checkpoint or recovery record lists, up to the first entry that is malformed.
func (b *body) items() (out []item, wellFormed bool) {
	types, first := b.texts("types"), b.number("first_sequence")
	for i, text := range b.texts("entries") {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || !isEntry.MatchString(text) || int(raw[0]) >= len(types) {
			return out, false
		}
		out = append(out, item{first + int64(i), string(raw[1:]), types[raw[0]]})
	}
	return out, true
}

func (s *stream) isVariant(sequence int64, digest, typeKey string) bool {
	for _, r := range s.variants[sequence] {
		if r.digest == digest && (typeKey == "" || r.typeKey() == typeKey) {
			return true
		}
	}
	return false
}

func (s *stream) held(sequence int64) *record {
	if found := s.variants[sequence]; found != nil {
		return found[0]
	}
	return nil
}

// holds tells whether all of a range is there.
func (s *stream) holds(first, last int64) bool {
	at := func(n int64) int {
		return sort.Search(len(s.sequences), func(i int) bool { return s.sequences[i] >= n })
	}
	return int64(at(last)-at(first)) == last-first && s.held(last) != nil
}

// judged returns the reports, in the order of the streams.
func (t *trail) judged() []*report {
	out := []*report{}
	for _, s := range t.streams {
		for n := range s.variants {
			s.sequences = append(s.sequences, n)
		}
		sort.Slice(s.sequences, func(i, j int) bool { return s.sequences[i] < s.sequences[j] })
	}
	for _, s := range t.streams {
		c := &court{trail: t, stream: s, stated: map[int64]item{}, disputed: map[int64]bool{}, absent: map[int64]string{}}
		if c.judge() {
			out = append(out, &s.report)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].StreamID < out[j].StreamID })
	return out
}

// A court judges one stream: the pseudo-code of the page, in its order.
type court struct {
	*trail
	*stream
	checkpoints []*record
	stated      map[int64]item // by recovery records
	disputed    map[int64]bool
	runs, holes []span
	unreadable  bool
	absent      map[int64]string // sequences that are listed and not there -> digest
	known       int64
	delivered   int64   // as namings that count say
	latest      []int64 // of each sequence that is there, the latest time of an event up to it
}

// judge tells whether there is anything to report.
func (c *court) judge() bool {
	s := c.stream
	for i, n := range s.sequences {
		r := s.variants[n][0]
		s.Records, s.LastSequence = s.Records+1, n
		c.latest = append(c.latest, r.latest)
		if i > 0 {
			c.latest[i] = max(c.latest[i-1], r.latest)
		}
		if len(s.variants[n]) > 1 {
			s.fault("conflict", n)
		}
		switch r.eventType {
		case "checkpoint":
			c.checkpoints = append(c.checkpoints, r)
		case "loss":
			s.DeclaredLost += r.number("count")
			s.fault("declared_loss", n)
		}
	}
	c.recover()
	if s.Records == 0 && s.RecoveredTo < 0 && !c.unreadable && len(s.Faults) == 0 {
		return false
	}
	c.known, c.delivered = s.RecoveredTo, none
	for _, named := range s.namings {
		c.known = max(c.known, named.sequence)
		if named.counted {
			c.delivered = max(c.delivered, named.sequence)
		}
	}
	c.beginning()
	c.compare()
	end := c.ending()
	c.withhold()
	c.sortAbsent(end)
	c.chain()
	c.prove()
	c.decide()
	return true
}

// recover puts the recovery records together (V-24, V-25, V-32).
func (c *court) recover() {
	s := c.stream
	sort.Slice(s.recoveries, func(i, j int) bool {
		a, b := s.recoveries[i], s.recoveries[j]
		if a.stream != b.stream {
			return a.stream < b.stream
		}
		return a.sequence < b.sequence || a.sequence == b.sequence && a.digest < b.digest
	})
	var before *record // the adopter's last part that lists something
	for i, r := range s.recoveries {
		for j := i + 1; j < len(s.recoveries) && s.recoveries[j].stream == r.stream && s.recoveries[j].digest == r.digest; j++ {
			r.counted = r.counted || s.recoveries[j].counted // the first of the copies speaks for all
		}
		if i > 0 && r.stream == s.recoveries[i-1].stream && r.digest == s.recoveries[i-1].digest {
			continue // a copy
		}
		items, wellFormed := r.items()
		first, last := r.number("first_sequence"), r.number("last_sequence")
		end := first + int64(len(items)) - 1
		if !wellFormed || len(items) > 0 && (first < 0 || end < first || end > last) {
			s.fault("recovery", max(0, first))
			continue
		}
		s.Recoveries++
		s.RecoveredTo = max(s.RecoveredTo, last)
		s.MachineRestarted = s.MachineRestarted || r.fields["machine_restarted"] == true
		c.unreadable = c.unreadable || len(r.texts("unreadable")) > 0
		differing := none
		for _, it := range items {
			if other, there := c.stated[it.sequence]; !there {
				c.stated[it.sequence] = it
			} else if other != it {
				if differing == none {
					differing = it.sequence
				}
				c.disputed[it.sequence] = true
			}
		}
		if differing != none {
			s.fault("recovery", differing)
		}
		if before != nil && before.stream != r.stream {
			before = nil
		}
		if len(items) == 0 {
			continue
		}
		if before != nil {
			ended := before.number("first_sequence") + int64(len(before.texts("entries"))) - 1
			if first > ended+1 && before.counted && r.counted && c.streams[r.stream].holds(before.sequence, r.sequence) {
				c.holes = append(c.holes, span{ended + 1, first - 1})
			}
		}
		c.runs = append(c.runs, span{first, end})
		before = r
	}
	c.runs = joined(c.runs)
}

// beginning applies V-10, V-16, V-18, V-19 and V-39.
func (c *court) beginning() {
	s := c.stream
	gone := map[string]bool{}
	if r := s.held(0); r != nil && (r.eventType != "checkpoint" || r.text("reason") != "open") {
		s.fault("opening", 0)
	}
	for _, r := range c.checkpoints {
		if r.sequence > 0 && r.text("reason") == "open" {
			s.fault("opening", r.sequence)
		}
		if r.counted {
			s.Acknowledged = max(s.Acknowledged, min(r.number("acknowledged"), r.sequence))
		}
		for _, line := range r.texts("previous") {
			if named, ok := namingOf(line); !ok {
				s.fault("chain", r.sequence)
			} else if len(c.streams[named.stream].variants) == 0 && !gone[named.stream] {
				gone[named.stream] = true
				s.AbsentStreams = append(s.AbsentStreams, named.stream)
			}
		}
	}
	sort.Strings(s.AbsentStreams)
	if len(c.checkpoints) > 0 && c.checkpoints[0].sequence == 0 {
		for _, r := range s.early {
			if r.ms < eventMS(c.checkpoints[0].body)-hour {
				s.Antedated = append(s.Antedated, span{r.sequence, r.sequence})
			}
		}
		s.Antedated = joined(s.Antedated)
	}
}

// compare applies V-11 to V-13, V-20, V-26 and V-27.
func (c *court) compare() {
	s := c.stream
	for _, r := range c.checkpoints {
		items, wellFormed := r.items()
		for _, it := range items {
			if it.sequence >= r.sequence {
				wellFormed = false
				break
			}
			if s.held(it.sequence) == nil {
				if _, there := c.absent[it.sequence]; !there {
					c.absent[it.sequence] = it.digest
				}
			} else if !s.isVariant(it.sequence, it.digest, it.typeKey) {
				s.fault("changed", it.sequence)
			}
		}
		if !wellFormed {
			s.fault("chain", r.sequence)
		}
	}
	for n, it := range c.stated {
		listed, there := c.absent[n]
		switch {
		case c.disputed[n]:
		case s.held(n) != nil:
			if !s.isVariant(n, it.digest, it.typeKey) {
				s.fault("changed", n)
			}
		case there && listed != it.digest:
			s.fault("recovery", n)
		default:
			c.absent[n] = it.digest
		}
	}
	for _, named := range s.namings {
		if s.held(named.sequence) != nil && !s.isVariant(named.sequence, named.digest, "") {
			s.fault("changed", named.sequence)
		}
	}
}

// ending returns the last sequence that there should be (V-17, V-28, V-29).
func (c *court) ending() int64 {
	s := c.stream
	for _, r := range c.checkpoints {
		if r.text("reason") != "close" {
			continue
		}
		s.Closed = true
		if s.LastSequence > r.sequence {
			s.fault("after_close", s.sequences[sort.Search(len(s.sequences), func(i int) bool { return s.sequences[i] > r.sequence })])
		}
		if c.known > s.LastSequence {
			s.fault("recovery", c.known)
		}
		return s.LastSequence
	}
	return max(s.LastSequence, c.known)
}

// withhold applies V-22 and V-23.
func (c *court) withhold() {
	s, found := c.stream, map[int64]bool{}
	closing := int64(math.MaxInt64)
	for _, r := range c.checkpoints {
		if r.text("reason") == "close" {
			closing = min(closing, r.sequence)
		}
	}
	for _, r := range s.quarantines {
		n := r.number("quarantined_sequence")
		if n > closing {
			if s.held(n) == nil {
				s.fault("quarantine", n)
			}
			continue
		}
		if listed, there := c.absent[n]; there && hex.EncodeToString([]byte(listed)) != r.text("quarantined_digest") {
			s.fault("quarantine", n)
		}
		if n >= 0 && s.held(n) == nil && !found[n] {
			found[n] = true
			s.Withheld = append(s.Withheld, n)
		}
	}
	sort.Slice(s.Withheld, func(i, j int) bool { return s.Withheld[i] < s.Withheld[j] })
}

// sortAbsent says of each absent range what it means (V-30 to V-34).
func (c *court) sortAbsent(end int64) {
	s := c.stream
	taken := append(append([]int64{}, s.sequences...), s.Withheld...)
	sort.Slice(taken, func(i, j int) bool { return taken[i] < taken[j] })
	edges := []int64{s.Acknowledged, c.known + 1, c.delivered + 1, s.RecoveredTo + 1}
	for _, run := range append(append([]span{}, c.runs...), c.holes...) {
		edges = append(edges, run[0], run[1]+1)
	}
	sort.Slice(edges, func(i, j int) bool { return edges[i] < edges[j] })
	next := int64(0)
	for _, n := range taken {
		if n > end {
			break
		}
		c.cut(next, n-1, edges)
		next = n + 1
	}
	if next >= 0 { // it is below where the last of all numbers is taken
		c.cut(next, end, edges)
	}
}

// cut sorts the pieces of a range between two that are taken, of one meaning each.
func (c *court) cut(first, end int64, edges []int64) {
	s := c.stream
	lists := map[string]*[]span{"missing": &s.Missing, "awaited": &s.Awaited, "unreadable": &s.Unreadable,
		"unaccounted": &s.Unaccounted, "removed": &s.Removed}
	excused := c.excuses(sort.Search(len(s.sequences), func(i int) bool { return s.sequences[i] > first }))
	meaning := func(n int64) (string, bool) {
		what := c.meaning(n)
		isFault := what == "missing" || what == "unreadable"
		if isFault && excused {
			return "removed", false
		}
		return what, isFault
	}
	for first <= end {
		what, isFault := meaning(first)
		last := end
		for _, edge := range edges {
			if other, _ := meaning(edge); edge > first && edge <= last && other != what {
				last = edge - 1
			}
		}
		if isFault {
			s.fault(what, first)
		}
		*lists[what] = append(*lists[what], span{first, last})
		first = last + 1
	}
}

func (c *court) meaning(n int64) string {
	in := func(ranges []span) bool { return overlap(ranges, n, n) }
	damaged := c.unreadable || len(c.runs) > 0 && c.runs[0][0] < n && n < c.runs[len(c.runs)-1][1]
	switch {
	case n < c.Acknowledged:
		return "missing"
	case c.Recoveries > 0 && n > c.known && c.settled:
		return "unaccounted"
	case c.Recoveries > 0 && n > c.known:
		return "awaited"
	case !in(c.runs) && in(c.holes):
		return "unreadable"
	case !c.settled && n > c.delivered:
		return "awaited"
	case !in(c.runs) && n <= c.RecoveredTo && damaged:
		return "unreadable"
	}
	return "missing"
}

// chain applies V-14 and V-15.
func (c *court) chain() {
	s := c.stream
	explaining := [][]span{s.Awaited, s.Unaccounted, s.Unreadable, s.Removed, each(s.Withheld)}
	next, unbroken, before := int64(0), true, none
	for _, r := range c.checkpoints {
		if first := r.number("first_sequence"); first != next {
			explained := false
			for _, ranges := range explaining {
				explained = explained || overlap(ranges, before+1, r.sequence-1)
			}
			if first < next || !explained {
				s.fault("chain", r.sequence)
			}
			unbroken = false
		}
		next = listedTo(r) + 1
		if unbroken {
			s.SealedTo = next - 1
		}
		before = r.sequence
	}
}

func listedTo(r *record) int64 {
	return r.number("first_sequence") + int64(len(r.texts("entries"))) - 1
}

// prove applies V-35.
func (c *court) prove() {
	s, listed := c.stream, append([]span{}, c.runs...)
	for _, r := range c.checkpoints {
		items, _ := r.items()
		first := r.number("first_sequence")
		listed = append(listed, span{first, min(first+int64(len(items)), r.sequence) - 1})
		if r.text("reason") == "close" {
			listed = append(listed, span{r.sequence, r.sequence})
		}
	}
	for _, named := range s.namings {
		listed = append(listed, span{named.sequence, named.sequence})
	}
	listed = joined(listed)
	for _, n := range s.sequences {
		if at := sort.Search(len(listed), func(i int) bool { return listed[i][1] >= n }); at == len(listed) || listed[at][0] > n {
			s.Unproven = append(s.Unproven, span{n, n})
		}
	}
	s.Unproven = joined(s.Unproven)
}

// decide applies V-43.
func (c *court) decide() {
	s := c.stream
	sort.Slice(s.Faults, func(i, j int) bool {
		a, b := s.Faults[i], s.Faults[j]
		return a[0].(string) < b[0].(string) || a[0] == b[0] && a[1].(int64) < b[1].(int64)
	})
	if n := len(c.checkpoints); n > 0 {
		end := listedTo(c.checkpoints[n-1])
		s.sealed = s.held(0) != nil && s.SealedTo == end && len(s.AbsentStreams) == 0
		for _, gone := range [][]span{s.Missing, s.Awaited, s.Unreadable, s.Unaccounted, s.Removed, each(s.Withheld)} {
			s.sealed = s.sealed && !overlap(gone, 0, end)
		}
	}
	absent := len(s.Missing) + len(s.Awaited) + len(s.Unreadable) + len(s.Unaccounted) + len(s.Removed)
	switch {
	case len(s.Faults) > 0:
		s.Verdict = "fault"
	case s.held(0) == nil || absent+len(s.Withheld)+len(s.AbsentStreams) > 0:
		s.Verdict = "open"
	case s.Closed && s.SealedTo == s.LastSequence-1:
		s.Verdict = "complete"
	case s.Recoveries > 0 && !s.Closed && len(s.Unproven) == 0 && !c.unreadable:
		s.Verdict = "recovered"
	default:
		s.Verdict = "open"
	}
}

func joined(ranges []span) []span {
	out := []span{}
	sort.Slice(ranges, func(i, j int) bool { return ranges[i][0] < ranges[j][0] })
	for _, r := range ranges {
		if r[1] < r[0] {
			continue
		}
		if n := len(out); n > 0 && r[0] <= out[n-1][1]+1 {
			out[n-1][1] = max(out[n-1][1], r[1])
		} else {
			out = append(out, r)
		}
	}
	return out
}

func each(numbers []int64) (out []span) {
	for _, n := range numbers {
		out = append(out, span{n, n})
	}
	return out
}

func overlap(ranges []span, first, last int64) bool {
	for _, r := range ranges {
		if r[0] <= last && r[1] >= first {
			return true
		}
	}
	return false
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func max(a, b int64) int64 {
	if a < b {
		return b
	}
	return a
}
