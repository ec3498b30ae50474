package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An outcome is what is said of a whole trail.
type outcome struct {
	ExitStatus  int            `json:"exit_status"`
	Undecodable map[string]int `json:"undecodable"`
	Compacted   []string       `json:"compacted"`
	Streams     []*report      `json:"streams"`
}

// conclude applies V-41 to V-45.
func (t *trail) conclude(compacted []string, sealed bool) *outcome {
	out := &outcome{Undecodable: t.problems, Compacted: compacted, Streams: t.judged()}
	faults, open, unreadable := 0, 0, 0
	for _, r := range out.Streams {
		if r.Verdict == "fault" {
			faults++
		} else if !(r.Verdict == "complete" || r.Verdict == "recovered" && !r.MachineRestarted || sealed && r.sealed) {
			open++
		}
	}
	for reason, count := range t.problems {
		if reason != "foreign" && reason != "tombstone" {
			unreadable += count
		}
	}
	switch {
	case faults > 0:
		out.ExitStatus = 1
	case len(out.Streams) == 0 || len(compacted) > 0 || unreadable > 0:
		out.ExitStatus = 4
	case open > 0:
		out.ExitStatus = 3
	}
	return out
}

func (t *trail) take(s *schemas, m *message) {
	if b, reason := s.decode(m.value); reason != "" {
		t.problems[reason]++
	} else {
		t.add(m, b)
	}
}

// topicsOf returns the topics to read (V-1).
func topicsOf(s *schemas, prefix string, given map[string]string) (out []string) {
	for eventType := range s.versions {
		topic, ok := given[eventType]
		if !ok {
			topic = prefix + "." + strings.ReplaceAll(eventType, "_", "-")
		}
		out = append(out, topic)
	}
	return out
}

// -- Kafka --------------------------------------------------------------------------------------------------

// read reads to the ends, takes the ends again, and reads to those (V-40). It returns what is compacted.
func read(ctx context.Context, bootstrap string, wanted []string, each func(*message)) ([]string, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	listed, err := admin.ListTopics(ctx) // all: asking for a topic by name could create it
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, topic := range wanted {
		if listed.Has(topic) {
			names = append(names, topic)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	first, err := admin.ListEndOffsets(ctx, names...)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return nil, err
	}
	positions := map[string]map[int32]int64{}
	assigned := map[string]map[int32]kgo.Offset{}
	first.Each(func(end kadm.ListedOffset) {
		if positions[end.Topic] == nil {
			positions[end.Topic], assigned[end.Topic] = map[int32]int64{}, map[int32]kgo.Offset{}
		}
		assigned[end.Topic][end.Partition] = kgo.NewOffset().AtStart()
	})
	client.AddConsumePartitions(assigned)
	for _, ends := range []func() (kadm.ListedOffsets, error){
		func() (kadm.ListedOffsets, error) { return first, nil },
		func() (kadm.ListedOffsets, error) { return admin.ListEndOffsets(ctx, names...) },
	} {
		target, err := ends()
		if err != nil {
			return nil, err
		}
		starts, err := admin.ListStartOffsets(ctx, names...) // retention goes on, and may overtake the reading
		if err != nil {
			return nil, err
		}
		for !reached(target, starts, positions) {
			fetches := client.PollFetches(ctx)
			for _, failed := range fetches.Errors() {
				return nil, fmt.Errorf("%s [%d]: %w", failed.Topic, failed.Partition, failed.Err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				positions[r.Topic][r.Partition] = r.Offset + 1
				if r.Attrs.IsControl() {
					return
				}
				end, _ := first.Lookup(r.Topic, r.Partition)
				m := &message{r.Topic, r.Partition, r.Offset, r.Timestamp.UnixMilli(), r.Key, nil, r.Value, r.Offset < end.Offset}
				for _, h := range r.Headers {
					m.headers = append(m.headers, header{h.Key, h.Value})
				}
				each(m)
			})
		}
	}
	configs, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "whether topics are compacted is not known:", err)
	}
	compacted := []string{}
	for _, topic := range configs {
		for _, c := range topic.Configs {
			if c.Key == "cleanup.policy" && c.Value != nil && strings.Contains(*c.Value, "compact") {
				compacted = append(compacted, topic.Name)
			}
		}
	}
	return compacted, nil
}

func reached(ends, starts kadm.ListedOffsets, positions map[string]map[int32]int64) bool {
	done := true
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		done = done && (positions[end.Topic][end.Partition] >= end.Offset || start.Offset >= end.Offset)
	})
	return done
}

// -- test vectors -------------------------------------------------------------------------------------------

type vectors struct {
	Defaults map[string]any
	Events   []struct {
		Fields                                    map[string]any
		Body, Confluent, Digest, Type, Topic, Key string
		SingleObject                              string `json:"single_object"`
		Headers                                   [][2]string
	}
	Values []struct {
		Name, Reason string
		Value        *string
	}
	Messages map[string]struct {
		Topic      string
		Partition  int32
		Offset     int64
		MS         int64 `json:"timestamp_ms"`
		Key, Value []byte
		Headers    [][2]*string
	}
	Trails []struct {
		Name            string
		Settled, Sealed bool
		Horizon         int64 `json:"horizon_ms"`
		Topics          map[string]string
		FirstEnds       map[string]int64 `json:"first_ends"`
		Compacted       []string
		Undecodable     map[string]int
		Records         []string
		ExitStatus      int `json:"exit_status"`
		Streams         []map[string]any
	}
}

// check compares what is said of the vectors with what is expected, and returns what differs.
func (v *vectors) check(s *schemas) (differing []string, checked int) {
	same := func(name string, got, want any) {
		checked++
		if g, w := plain(got), plain(want); !reflect.DeepEqual(g, w) {
			differing = append(differing, fmt.Sprintf("%s: %v, expected %v", name, g, w))
		}
	}
	for i, event := range v.Events {
		for _, framed := range []string{event.SingleObject, event.Confluent} {
			name, value := fmt.Sprintf("event %d", i), unhex(framed)
			b, reason := s.decode(value)
			same(name+": reason", reason, "")
			if reason != "" {
				continue
			}
			same(name+": fields", b.fields, event.Fields)
			same(name+": digest", hex.EncodeToString([]byte(b.digest)), event.Digest)
			same(name+": type", b.typeKey(), event.Type)
			same(name+": body", strings.HasSuffix(framed, event.Body), true)
			m := &message{topic: event.Topic, key: []byte(event.Key)}
			for _, h := range event.Headers {
				m.headers = append(m.headers, header{h[0], []byte(h[1])})
			}
			same(name+": placement", newTrail(nil, false, 0).misplaced(m, b), false)
			if b.eventType == "checkpoint" { // the last lists those before it
				items, _ := b.items()
				for _, it := range items {
					same(name+": entry", hex.EncodeToString([]byte(it.digest))+it.typeKey, v.Events[it.sequence].Digest+v.Events[it.sequence].Type)
				}
			}
		}
	}
	for _, value := range v.Values {
		var raw []byte
		if value.Value != nil {
			raw = unhex(*value.Value)
		}
		_, reason := s.decode(raw)
		same(value.Name, reason, value.Reason)
	}
	for _, trail := range v.Trails {
		t := newTrail(trail.Topics, trail.Settled, trail.Horizon)
		for _, name := range trail.Records {
			from := v.Messages[name]
			end, bounded := trail.FirstEnds[fmt.Sprintf("%s/%d", from.Topic, from.Partition)]
			m := &message{from.Topic, from.Partition, from.Offset, from.MS, from.Key, nil, from.Value, !bounded || from.Offset < end}
			for _, h := range from.Headers {
				one := header{*h[0], nil}
				if h[1] != nil {
					one.value, _ = base64.StdEncoding.DecodeString(*h[1])
				}
				m.headers = append(m.headers, one)
			}
			t.take(s, m)
		}
		out := t.conclude(trail.Compacted, trail.Sealed)
		same(trail.Name+": exit status", out.ExitStatus, trail.ExitStatus)
		same(trail.Name+": undecodable", len(out.Undecodable) == 0 && len(trail.Undecodable) == 0 ||
			reflect.DeepEqual(out.Undecodable, trail.Undecodable), true)
		same(trail.Name+": streams", len(out.Streams), len(trail.Streams))
		for i := 0; i < len(out.Streams) && i < len(trail.Streams); i++ {
			want := trail.Streams[i]
			for name, value := range v.Defaults {
				if _, given := want[name]; !given {
					want[name] = value
				}
			}
			same(trail.Name, out.Streams[i], want)
		}
	}
	return differing, checked
}

// plain returns a value as JSON has it, numbers as text.
func plain(value any) (out any) {
	raw, _ := json.Marshal(value)
	in := json.NewDecoder(bytes.NewReader(raw))
	in.UseNumber()
	_ = in.Decode(&out)
	return out
}

func unhex(text string) []byte { raw, _ := hex.DecodeString(text); return raw }

// -- the command --------------------------------------------------------------------------------------------

func load(path string) (*vectors, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	in, out := json.NewDecoder(bytes.NewReader(raw)), &vectors{}
	in.UseNumber()
	return out, in.Decode(out)
}

func fail(status int, problem any) {
	fmt.Fprintln(os.Stderr, problem)
	os.Exit(status)
}

func main() {
	bootstrap := flag.String("bootstrap", "", "brokers, host:port with commas")
	prefix := flag.String("prefix", "audit", "prefix of the topics")
	given := flag.String("topics", "", "topics of other names: type=topic with commas")
	avro := flag.String("avro", "avro", "folder of the schemas and fingerprints.json")
	file := flag.String("vectors", "", "check this file of test vectors instead")
	settled := flag.Bool("settled", false, "nothing can be on its way any more (V-33)")
	sealed := flag.Bool("sealed", false, "ask for what is up to the last checkpoints (V-45)")
	horizon := flag.Int64("horizon", 0, "excuse what is absent before this time, milliseconds (V-34)")
	timeout := flag.Duration("timeout", time.Minute, "longest time for all of it")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	if flag.NArg() > 0 || (*bootstrap == "") == (*file == "") {
		fail(2, "give -bootstrap or -vectors, and no other arguments")
	}
	s, err := loadSchemas(*avro)
	if err != nil {
		fail(2, err)
	}
	if *file != "" {
		v, err := load(*file)
		if err != nil {
			fail(2, err)
		}
		differing, checked := v.check(s)
		for _, line := range differing {
			fmt.Println(line)
		}
		fmt.Printf("%d compared, %d differ\n", checked, len(differing))
		if len(differing) > 0 || checked == 0 {
			os.Exit(1)
		}
		return
	}
	topics := map[string]string{}
	for _, pair := range strings.FieldsFunc(*given, func(c rune) bool { return c == ',' }) {
		eventType, topic, _ := strings.Cut(pair, "=")
		topics[eventType] = topic
	}
	t := newTrail(topics, *settled, *horizon)
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	compacted, err := read(ctx, *bootstrap, topicsOf(s, *prefix, topics), func(m *message) { t.take(s, m) })
	if err != nil {
		fail(4, err)
	}
	out := t.conclude(compacted, *sealed)
	if *asJSON {
		err = json.NewEncoder(os.Stdout).Encode(out)
	} else {
		for _, r := range out.Streams {
			fmt.Printf("%s %s: %d records, to %d, faults %v\n", r.StreamID, r.Verdict, r.Records, r.LastSequence, r.Faults)
		}
	}
	if err != nil {
		fail(4, err)
	}
	os.Exit(out.ExitStatus)
}
