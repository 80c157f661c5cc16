// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
)

const (
	// partSize is about how much a part of an answer has, in bytes. One element that has more is a part by itself.
	partSize = 256 << 10
	// maxText is how much of one text, and of a list of texts, is sent, in bytes.
	maxText = 64 << 10
)

// streamOf is what a method sends the parts of an answer to.
type streamOf[P any] = grpc.ServerStreamingServer[P]

// sendList sends the elements of a list in parts.
func sendList[E proto.Message, P any](stream streamOf[P], list []E, part func([]E) *P) error {
	start, size := 0, 0
	for i, element := range list {
		next := proto.Size(element)
		if i > start && size+next > partSize {
			if err := stream.Send(part(list[start:i])); err != nil {
				return err
			}
			start, size = i, 0
		}
		size += next
	}
	if start == len(list) {
		return nil
	}
	return stream.Send(part(list[start:]))
}

// updateParts splits updates so that none has more outcomes than a part holds: one with the id of the one before goes
// on with its outcomes.
func updateParts(updates ...*api.Update) (parts []*api.Update) {
	for _, u := range updates {
		outcomes := u.GetOutcomes()
		for first := true; first || len(outcomes) > 0; first = false {
			part := u
			if !first {
				part = &api.Update{Id: u.GetId()}
			}
			part.Outcomes, outcomes = firstPart(outcomes)
			parts = append(parts, part)
		}
	}
	return parts
}

// firstPart returns the elements of a list that fit in a part, at least one if there is any, and the others.
func firstPart[E proto.Message](list []E) (part, rest []E) {
	size := 0
	for i, element := range list {
		if size += proto.Size(element); i > 0 && size > partSize {
			return list[:i:i], list[i:]
		}
	}
	return list, nil
}

// sendDocument sends what write writes in parts.
func sendDocument[P any](stream streamOf[P], part func([]byte) *P, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(pieces(func(data []byte) error { return stream.Send(part(data)) }), partSize)
	if err := write(w); err != nil {
		return errgrpc.ToGRPC(err)
	}
	return errgrpc.ToGRPC(w.Flush())
}

// pieces is a writer that passes on what is written in pieces of no more than a part.
type pieces func([]byte) error

// Write implements io.Writer.
func (send pieces) Write(data []byte) (int, error) {
	for piece := range slices.Chunk(data, partSize) {
		if err := send(piece); err != nil {
			return 0, err
		}
	}
	return len(data), nil
}

// bounded returns a text, cut if it is too long.
func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > maxText-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return fmt.Sprintf("%s... (%d more bytes)", text[:end], len(text)-end)
}

// boundedList returns the first of a list of texts, up to maxText bytes; the last one says then how many there are
// more.
func boundedList(texts []string) []string {
	size := 0
	for i, text := range texts {
		if size += len(text); size <= maxText {
			continue
		}
		if i == 0 {
			return append([]string{bounded(text)}, more(len(texts)-1)...)
		}
		return append(slices.Clone(texts[:i]), more(len(texts)-i)...)
	}
	return texts
}

func more(n int) []string {
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("and %d more", n)}
}

// text returns an error as a client is told it.
func text(err error) string { return bounded(strings.ToValidUTF8(errtext.Of(err), "\ufffd")) }

// lines returns an error as a client is told it, line by line.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return each(strings.Split(strings.ToValidUTF8(errtext.Of(err), "\ufffd"), "\n"), bounded)
}
