// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

const (
	formatTable = "table"
	formatJSON  = "json"
)

// table is written for people: columns, with a blank line between parts. Rows are printed as they come: columns are
// as wide as it takes for tableRows rows at a time.
type table struct {
	w    *tabwriter.Writer
	rows int
	err  error // the first
}

// tableRows is how many rows a table holds until it prints them.
const tableRows = 1000

func newTable(w io.Writer) *table {
	return &table{w: tabwriter.NewWriter(&trimmer{w: w}, 2, 8, 2, ' ', 0)}
}

// trimmer passes lines on without the blanks at their ends. Cells that are empty must reach the tabwriter: a row
// without them would end the columns.
type trimmer struct {
	w    io.Writer
	rest []byte // blanks that may be at the end of a line
}

// Write implements io.Writer.
func (t *trimmer) Write(data []byte) (int, error) {
	text := append(t.rest, data...)
	var out []byte
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimRight(line, " \n")
		out = append(out, trimmed...)
		if t.rest = bytes.Clone(line[len(trimmed):]); bytes.HasSuffix(line, []byte("\n")) {
			out, t.rest = append(out, '\n'), nil
		}
	}
	if _, err := t.w.Write(out); err != nil {
		return 0, err
	}
	return len(data), nil
}

// row writes a row. The first error shows at flush.
func (t *table) row(cells ...any) {
	texts := make([]string, 0, len(cells))
	for _, c := range cells {
		texts = append(texts, visible(fmt.Sprint(c)))
	}
	_, err := io.WriteString(t.w, strings.Join(texts, "\t")+"\n")
	if t.rows++; err == nil && t.rows%tableRows == 0 {
		err = t.w.Flush()
	}
	if t.err == nil {
		t.err = err
	}
}

// flush prints the rows that are left.
func (t *table) flush() error {
	if err := t.w.Flush(); t.err == nil {
		t.err = err
	}
	return t.err
}

// end prints the rows that are left. It returns the error of a call, if there is one, as it is.
func (t *table) end(err error) error {
	if flushed := t.flush(); err == nil {
		return flushed
	}
	return err
}

// visible writes text so that what is in it cannot confuse a terminal, or look like something else. Names, paths and
// reasons may come from inside a container.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\t', r == '\n':
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// printed prints a message: as JSON for programs, otherwise as fn says.
func printed(c *cli.Command, m proto.Message, fn func(t *table)) error {
	if c.String("format") == formatJSON {
		return printJSON(c.Root().Writer, m)
	}
	t := newTable(c.Root().Writer)
	fn(t)
	return t.flush()
}

// message is a generated message of type T.
type message[T any] interface {
	*T
	proto.Message
}

// shown prints an answer part by part, as it comes: as one JSON object for programs, otherwise as rows says of each
// part, and rest at the end. The answer is what a call returned.
func shown[T any, M message[T]](
	c *cli.Command, stream grpc.ServerStreamingClient[T], err error, t *table, rows func(part M), rest func(),
) error {
	if c.String("format") != formatJSON {
		came := false
		err := api.Each(stream, err, func(part *T) error {
			came = true
			rows(part)
			return t.err
		})
		if err != nil && !came { // not even the head of the table
			return err
		}
		if err == nil {
			rest()
		}
		return t.end(err)
	}
	d := newDocument(c.Root().Writer)
	if err := api.Each(stream, err, func(part *T) error { return d.add(M(part)) }); err != nil {
		return err
	}
	return d.close(M(new(T)))
}

// nodeID writes a node as people read it; "-" for none.
func nodeID(id uint64) string {
	if id == 0 {
		return "-"
	}
	return fmt.Sprintf("n%d", id)
}

func updateID(id uint64) string { return fmt.Sprintf("u%d", id) }

func when(t *timestamppb.Timestamp) string { return t.AsTime().Local().Format(time.DateTime) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// size writes a number of bytes with a binary unit.
func size(n int64) string {
	return units.CustomSize("%.4g %s", float64(n), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"})
}

// ownKey returns the containerd key within the key of a snapshot, to be shown.
func ownKey(key string) string {
	parts := strings.SplitN(key, "/", 3)
	return parts[len(parts)-1]
}

// holder names what has a storage: a container by its id, and anything else by its key; empty if nothing has it.
func holder(s *api.Storage) string {
	switch {
	case s.GetContainer() != "":
		return "container " + s.GetContainer()
	case s.GetKey() != "":
		return "key " + ownKey(s.GetKey())
	}
	return ""
}

// noted is a stream of which fn sees each part first.
func noted[T any](stream grpc.ServerStreamingClient[T], fn func(part *T)) grpc.ServerStreamingClient[T] {
	return &notedStream[T]{stream, fn}
}

type notedStream[T any] struct {
	grpc.ServerStreamingClient[T]
	fn func(*T)
}

// Recv implements grpc.ServerStreamingClient.
func (n *notedStream[T]) Recv() (*T, error) {
	part, err := n.ServerStreamingClient.Recv()
	if err == nil {
		n.fn(part)
	}
	return part, err
}
