// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

const (
	formatTable = "table"
	formatJSON  = "json"
)

// table is written for people: columns, with a blank line between parts.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) *table { return &table{tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)} }

// row writes a row. The first error shows at flush.
func (t *table) row(cells ...any) {
	texts := make([]string, 0, len(cells))
	for _, c := range cells {
		texts = append(texts, visible(fmt.Sprint(c)))
	}
	// tabwriter keeps the text until it is flushed; what goes wrong with the output is told there.
	_, _ = io.WriteString(t.w, strings.TrimRight(strings.Join(texts, "\t"), "\t")+"\n")
}

// visible writes text so that what is in it cannot confuse a terminal, or look like something else. Names, paths and reasons
// may come from inside a container.
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

// printed prints a response of the daemon: as JSON for programs, otherwise as fn says.
func printed(c *cli.Command, m proto.Message, fn func(t *table)) error {
	if c.String("format") == formatJSON {
		return printJSON(c.Root().Writer, m)
	}
	t := newTable(c.Root().Writer)
	fn(t)
	return t.w.Flush()
}

func printJSON(w io.Writer, m proto.Message) error {
	data, err := protojson.MarshalOptions{Multiline: true, UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(data))
	return err
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
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, unit := float64(n), 0
	for f >= 1024 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
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
