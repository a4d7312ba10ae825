"""The defects of the server that this one replaces: the tests that show ours without them, and each one planted.

A row with more than one side to it has an entry for each. What is planted is a small change of our code that brings
the defect back; `test_predecessor_defects.py` plants each one in a copy, where the named tests must fail.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

REQUIRED_ROWS = frozenset({*range(1, 41)} - {35})
"""Those that this release answers for; the one that is left out tells of files that it does not have."""

LIBRARY = "libs/pipeline/src/thinkpool_pipeline"
LIBRARY_TESTS = "libs/pipeline/tests"
SERVER = "apps/api-server/src/thinkpool_server"
SERVER_TESTS = "apps/api-server/tests"


@dataclass(frozen=True, slots=True)
class Fault:
    """A change of one place in one file."""

    path: str
    """From the root of the repository."""
    old: str
    """Occurs once in the file."""
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One row, or one side of it."""

    row: int
    what: str
    """In a few words, in lower case."""
    tests: tuple[str, ...]
    """Node ids, from the root; without brackets, any of the test's cases may be the one that fails."""
    fault: Fault


DEFECTS = (
    Defect(
        row=1,
        what="the health check is refused",
        tests=(
            f"{SERVER_TESTS}/test_http_surface.py::test_health_tells_the_figures",
            "tests/e2e/test_container_commands.py::test_health_check_finds_a_server_healthy_and_a_dead_one_not[image]",
        ),
        fault=Fault(
            f"{SERVER}/routes/operations.py",
            "async def health(runtime: CurrentRuntime)",
            "async def health(runtime: CurrentRuntime, args: str, kwargs: str)",
        ),
    ),
    Defect(
        row=2,
        what="what one run was shown is hidden from the next",
        tests=(
            f"{LIBRARY_TESTS}/loop/test_research.py"
            "::test_two_runs_on_one_pipeline_get_the_same_results_for_the_same_search",
        ),
        fault=Fault(
            f"{LIBRARY}/citations/registry.py",
            "        known = len(self._found)\n",
            '        seen = _squeeze.__dict__.setdefault("seen", set())\n'
            "        passages = [passage for passage in passages if passage.document not in seen]\n"
            "        seen.update(passage.document for passage in passages)\n"
            "        known = len(self._found)\n",
        ),
    ),
    Defect(
        row=3,
        what="the model reads numbers that start anew with each search",
        tests=(
            f"{LIBRARY_TESTS}/loop/test_research.py::test_the_number_the_model_reads_is_the_number_the_client_sees",
        ),
        fault=Fault(
            f"{LIBRARY}/citations/registry.py",
            'f"[{item.source_id}] {title}',
            'f"[{len(parts) + (not text)}] {title}',
        ),
    ),
    Defect(
        row=4,
        what="a failed run looks like an answer",
        tests=(
            f"{SERVER_TESTS}/test_run_service.py::test_a_failing_model_fails_the_run_with_its_code",
            "tests/e2e/test_openai_sdk.py::test_an_upstream_that_fails_in_the_middle_is_an_error_on_the_stream",
            "tests/e2e/test_openai_sdk.py::test_a_failed_run_is_no_answer_and_is_not_worth_a_retry",
        ),
        fault=Fault(
            f"{SERVER}/supervisor.py",
            "return RunFailed(code=code, message=message, partial_report=report_so_far(events), "
            "usage=usage_so_far(events))",
            "return RunCompleted(report=report_so_far(events), citations=(), usage=usage_so_far(events), "
            'stop_reason="finished")',
        ),
    ),
    Defect(
        row=5,
        what="the reason for a failure does not reach the client",
        tests=(
            f"{SERVER_TESTS}/test_run_service.py::test_a_failing_model_fails_the_run_with_its_code",
            "tests/e2e/test_openai_sdk.py::test_an_upstream_that_fails_in_the_middle_is_an_error_on_the_stream",
            "tests/e2e/test_openai_sdk.py::test_a_failed_run_is_no_answer_and_is_not_worth_a_retry",
        ),
        fault=Fault(
            f"{SERVER}/supervisor.py",
            "return await self._failed(claim, error.code, error.message)",
            'return await self._failed(claim, PipelineError.code, "The run failed.")',
        ),
    ),
    Defect(
        row=6,
        what="a stream brings the report twice",
        tests=(
            f"{SERVER_TESTS}/routes/test_chat.py::test_a_streamed_answer_is_the_same",
            "tests/e2e/test_openai_sdk.py::test_streaming_and_not_give_the_same_answer_once_with_the_thinking_apart",
        ),
        fault=Fault(
            f"{SERVER}/projections/chat.py",
            "yield from self._more(self._report.finish(done.report))",
            'yield self._chunks.of({"content": done.report})',
        ),
    ),
    Defect(
        row=6,
        what="a whole answer holds the thinking, too",
        tests=(
            f"{SERVER_TESTS}/routes/test_chat.py"
            "::test_a_whole_answer_is_the_report_once_with_thinking_sources_and_usage",
            "tests/e2e/test_openai_sdk.py::test_streaming_and_not_give_the_same_answer_once_with_the_thinking_apart",
        ),
        fault=Fault(
            f"{SERVER}/projections/chat.py", '"content": done.report,', '"content": f"{thinking}{done.report}",'
        ),
    ),
    Defect(
        row=7,
        what="who leaves the queue keeps a place in it",
        tests=(
            f"{SERVER_TESTS}/test_admission.py::test_figures_return_to_zero_however_runs_leave",
            "tests/e2e/test_load.py::test_clients_that_leave_while_queued_or_streaming_leave_nothing_behind",
        ),
        fault=Fault(
            f"{SERVER}/admission.py",
            "        self._remove_waiting(run_id)\n        self._executing.pop(run_id, None)\n",
            "        self._executing.pop(run_id, None)\n",
        ),
    ),
    Defect(
        row=7,
        what="who leaves in the moment of its turn takes a pipeline along",
        tests=(f"{LIBRARY_TESTS}/test_pool.py::test_a_borrower_cancelled_in_the_moment_of_getting_one_passes_it_on",),
        fault=Fault(f"{LIBRARY}/pool.py", "self._offer(turn.result())", "turn.result()"),
    ),
    Defect(
        row=8,
        what="each client that leaves blocks the event loop",
        tests=("tests/e2e/test_load.py::test_clients_that_leave_while_queued_or_streaming_leave_nothing_behind",),
        fault=Fault(
            f"{SERVER}/event_log/reader.py",
            "        self._on_leave()\n",
            '        __import__("time").sleep(0.05)\n        self._on_leave()\n',
        ),
    ),
    Defect(
        row=9,
        what="a call ends without a word on what it found",
        tests=(f"{LIBRARY_TESTS}/loop/test_research.py::test_every_call_has_its_start_and_its_finish_with_a_summary",),
        fault=Fault(f"{LIBRARY}/loop/tool_calls.py", "        summary=result.summary,\n", '        summary="",\n'),
    ),
    Defect(
        row=9,
        what="what a program printed is shown to nobody",
        tests=(
            f"{LIBRARY_TESTS}/loop/test_research.py::test_what_a_tool_shows_people_is_in_the_event_that_ends_its_call",
        ),
        fault=Fault(f"{LIBRARY}/loop/tool_calls.py", "output=cut(output.shown, MAX_SHOWN_CHARACTERS)", 'output=""'),
    ),
    Defect(
        row=10,
        what="no heartbeat in silence",
        tests=(
            f"{SERVER_TESTS}/routes/test_chat.py::test_silence_is_filled_with_comments_which_the_sdk_ignores",
            f"{SERVER_TESTS}/routes/test_research.py::test_silence_is_filled_with_comments",
            "tests/e2e/test_nginx.py::test_heartbeats_of_a_run_that_waits_pass_through",
        ),
        fault=Fault(f"{SERVER}/event_stream.py", "ping=settings.heartbeat_seconds", "ping=86_400"),
    ),
    Defect(
        row=11,
        what="a client that waits for the whole answer leaves unnoticed",
        tests=(
            f"{SERVER_TESTS}/routes/test_chat.py::test_a_client_that_leaves_is_noticed[False]",
            "tests/e2e/test_cancel.py"
            "::test_a_client_that_leaves_without_its_whole_answer_ends_the_run_and_its_model_call",
        ),
        fault=Fault(
            f"{SERVER}/routes/whole_answers.py",
            "        patience.reschedule(asyncio.get_running_loop().time())\n",
            "        del patience\n",
        ),
    ),
    Defect(
        row=12,
        what="a pipeline is lent again while a cancelled run still works with it",
        tests=(
            f"{SERVER_TESTS}/test_run_service.py"
            "::test_a_pipeline_is_not_lent_again_while_a_cancelled_run_still_works_with_it",
        ),
        fault=Fault(
            f"{SERVER}/supervisor.py",
            "await pipeline.run(claim.record.question, claim.journal)",
            "await asyncio.shield(pipeline.run(claim.record.question, claim.journal))",
        ),
    ),
    Defect(
        row=13,
        what="a reply is shown when it is whole",
        tests=(
            f"{LIBRARY_TESTS}/models/test_openai_compatible.py"
            "::test_cancelling_closes_the_connection_and_nothing_is_heard_afterwards",
        ),
        fault=Fault(
            f"{LIBRARY}/models/openai_compatible.py",
            "            self._show(assembly.take_shown())\n            if is_done:",
            "            if is_done:\n                self._show(assembly.take_shown())",
        ),
    ),
    Defect(
        row=14,
        what="what is not there is a fault of the server",
        tests=(
            f"{SERVER_TESTS}/test_bad_input.py::test_ids_that_nothing_has_are_not_found_in_one_shape",
            f"{SERVER_TESTS}/test_auth.py::test_another_tenants_run_looks_like_none_at_all",
        ),
        fault=Fault(
            f"{SERVER}/error_responses.py",
            "    UnknownRun: HTTPStatus.NOT_FOUND,\n",
            "    UnknownRun: HTTPStatus.INTERNAL_SERVER_ERROR,\n",
        ),
    ),
    Defect(
        row=14,
        what="any exception's text goes to the client",
        tests=(f"{SERVER_TESTS}/test_http_surface.py::test_a_bug_of_ours_tells_nothing_of_itself",),
        fault=Fault(
            f"{SERVER}/error_responses.py",
            "response = respond(request.url.path, _INTERNAL)",
            'response = respond(request.url.path, Failure(status=500, code="internal", message=str(_error)))',
        ),
    ),
    Defect(
        row=15,
        what="every origin may call, cookies included",
        tests=(f"{SERVER_TESTS}/test_http_surface.py::test_other_origins_get_no_cors_headers",),
        fault=Fault(
            f"{SERVER}/app.py",
            "    if settings.cors_origins:\n"
            "        app.add_middleware(\n"
            "            CORSMiddleware,\n"
            "            allow_origins=settings.cors_origins,\n"
            "            allow_credentials=settings.cors_credentials,\n",
            "    if app:\n"
            "        app.add_middleware(\n"
            "            CORSMiddleware,\n"
            '            allow_origins=("*",),\n'
            "            allow_credentials=True,\n",
        ),
    ),
    Defect(
        row=15,
        what="any origin with cookies is a setting like others",
        tests=(f"{SERVER_TESTS}/test_settings.py::test_settings_that_do_not_fit_together_stop_the_start",),
        fault=Fault(
            f"{SERVER}/settings.py",
            'not ("*" in self.cors_origins and self.cors_credentials)',
            "self.cors_credentials in (True, False)",
        ),
    ),
    Defect(
        row=16,
        what="nobody needs a key",
        tests=(
            f"{SERVER_TESTS}/test_auth.py::test_every_refusal_is_the_same",
            "tests/e2e/test_openai_sdk.py::test_a_wrong_key_is_an_authentication_error",
        ),
        fault=Fault(
            f"{SERVER}/auth.py",
            "            if tenant is None:\n",
            "            tenant = tenant or DEFAULT_TENANT\n            if tenant is None:\n",
        ),
    ),
    Defect(
        row=16,
        what="everybody's runs are everybody's",
        tests=(f"{SERVER_TESTS}/test_run_service.py::test_another_tenants_run_is_unknown_in_every_verb",),
        fault=Fault(
            f"{SERVER}/run_service.py",
            "if run is not None and run.record.tenant == tenant:",
            "if run is not None:",
        ),
    ),
    Defect(
        row=16,
        what="one tenant takes every place",
        tests=(f"{SERVER_TESTS}/engine/test_dbos_engine.py::test_one_tenants_cap_leaves_room_for_another",),
        fault=Fault(
            f"{SERVER}/engine/dbos_engine.py",
            "        self._execute = execute\n",
            '        self._execute = execute\n        object.__setattr__(limits, "per_tenant", limits.in_deployment)\n',
        ),
    ),
    Defect(
        row=17,
        what="the queue has no end",
        tests=(
            f"{SERVER_TESTS}/test_admission.py::test_exactly_the_slots_and_the_queue_are_admitted",
            f"{SERVER_TESTS}/test_run_service.py"
            "::test_a_full_queue_refuses_with_retry_after_and_a_draining_server_refuses_all",
            "tests/e2e/test_load.py::test_a_flood_is_accepted_up_to_the_bound_refused_beyond_it_and_started_in_order",
        ),
        fault=Fault(
            f"{SERVER}/admission.py",
            "self._max_queued = max_queued\n",
            "self._max_queued = 1_000_000 + max_queued\n",
        ),
    ),
    Defect(
        row=17,
        what="nobody is told a place",
        tests=(f"{SERVER_TESTS}/test_admission.py::test_a_place_counts_the_own_tenants_runs_ahead_and_all_others",),
        fault=Fault(
            f"{SERVER}/admission.py",
            "return RunQueued(position=position, ahead=ahead, estimated_start_seconds=estimate)",
            "return RunQueued(position=0, ahead=0, estimated_start_seconds=None)",
        ),
    ),
    Defect(
        row=17,
        what="waiting has no deadline",
        tests=(f"{SERVER_TESTS}/test_run_service.py::test_a_run_that_waited_too_long_fails_and_never_starts",),
        fault=Fault(
            f"{SERVER}/run_service.py",
            "for run_id in self._admission.overdue(accepted_before):",
            "for run_id in self._admission.overdue(0.0):",
        ),
    ),
    Defect(
        row=18,
        what="a run dies with its connection",
        tests=(f"{SERVER_TESTS}/test_run_service.py::test_a_run_in_the_background_outlives_its_readers",),
        fault=Fault(
            f"{SERVER}/run_service.py",
            "if record.is_foreground and not self._log.readers_of(record.run_id):",
            "if not self._log.readers_of(record.run_id):",
        ),
    ),
    Defect(
        row=18,
        what="a run dies with its process",
        tests=("tests/e2e/test_recovery.py::test_runs_go_on_after_kill_9_at_any_moment_and_repeat_no_recorded_call",),
        fault=Fault(
            f"{SERVER}/engine/dbos_queue.py",
            'on_conflict="always_update",\n        )\n        self.requeue(self._executor)\n',
            'on_conflict="always_update",\n        )\n',
        ),
    ),
    Defect(
        row=19,
        what="usage is all zeros",
        tests=(
            f"{LIBRARY_TESTS}/models/test_openai_compatible.py"
            "::test_a_reply_is_streamed_and_given_whole_with_its_usage",
            "tests/e2e/test_openai_sdk.py::test_usage_is_the_upstreams_own",
        ),
        fault=Fault(
            f"{LIBRARY}/models/reply_assembly.py",
            "            self._usage = _usage(usage)\n",
            "            self._usage = Usage()\n",
        ),
    ),
    Defect(
        row=19,
        what="nothing is counted",
        tests=(
            f"{SERVER_TESTS}/test_metrics.py::test_a_run_moves_its_metrics",
            "tests/e2e/test_observability.py::test_pool_queue_limiter_run_and_upstream_figures_move_with_the_runs",
        ),
        fault=Fault(
            f"{SERVER}/metrics.py",
            "            observer(event, since_submit_seconds)\n",
            "            del observer\n",
        ),
    ),
    Defect(
        row=20,
        what="how the model is to answer is taken and forgotten",
        tests=(f"{LIBRARY_TESTS}/models/test_chat_request.py::test_sampling_is_passed_on_and_nothing_is_made_up",),
        fault=Fault(
            f"{LIBRARY}/models/chat_request.py",
            '        "temperature": sampling.temperature,\n',
            "",
        ),
    ),
    Defect(
        row=20,
        what="another model than the one asked for answers",
        tests=(f"{SERVER_TESTS}/routes/test_chat.py::test_an_unknown_model_is_not_found",),
        fault=Fault(
            f"{SERVER}/submissions.py",
            "    if name and name not in asker.model_names:\n",
            '    name = name if name in asker.model_names else ""\n    if name and name not in asker.model_names:\n',
        ),
    ),
    Defect(
        row=20,
        what="what is not done is taken and ignored",
        tests=(f"{SERVER_TESTS}/routes/test_chat.py::test_what_is_not_done_is_refused_by_name",),
        fault=Fault(f"{SERVER}/submissions.py", "    refuse_unsupported(body, CHAT_UNSUPPORTED)\n", ""),
    ),
    Defect(
        row=21,
        what="every stream looks for news ten times a second",
        tests=(f"{SERVER_TESTS}/event_log/test_reader.py::test_a_reader_without_news_sleeps_until_it_is_woken",),
        fault=Fault(
            f"{SERVER}/event_log/reader.py",
            "await self._topic.changed()",
            'await __import__("asyncio").sleep(0.1)',
        ),
    ),
    Defect(
        row=21,
        what="every request has a thread",
        tests=(f"{SERVER_TESTS}/test_http_surface.py::test_no_request_takes_a_thread",),
        fault=Fault(
            f"{SERVER}/routes/dependencies.py",
            "async def current_runtime(",
            "def current_runtime(",
        ),
    ),
    Defect(
        row=21,
        what="every call has a connection",
        tests=(
            f"{LIBRARY_TESTS}/outward/test_upstream.py"
            "::test_connections_are_used_again_even_when_the_reader_stops_before_the_end",
        ),
        fault=Fault(
            f"{LIBRARY}/outward/http_client.py",
            "        keepalive_timeout=KEEPALIVE_SECONDS,\n",
            "        force_close=True,\n",
        ),
    ),
    Defect(
        row=22,
        what="one of the two names is not read",
        tests=(f"{SERVER_TESTS}/test_settings.py::test_the_environment_wins_over_the_env_file",),
        fault=Fault(
            f"{SERVER}/settings.py",
            'AliasChoices("SUMMARY_LLM_MODEL_NAME", "SUMMARY_LLM_MODEL")',
            'AliasChoices("SUMMARY_LLM_MODEL_NAME")',
        ),
    ),
    Defect(
        row=22,
        what="an extraction that fails is passed over in silence",
        tests=(
            f"{LIBRARY_TESTS}/tools/read_page/test_tool.py::test_a_failing_extraction_falls_back_to_the_page_and_says_so",
        ),
        fault=Fault(
            f"{LIBRARY}/tools/read_page/tool.py",
            'summary=f"{output.summary}, extraction failed"',
            "summary=output.summary",
        ),
    ),
    Defect(
        row=23,
        what="a conversation that is made shorter has no deadline any more",
        tests=(
            f"{LIBRARY_TESTS}/loop/test_research.py::test_a_conversation_that_was_shrunk_still_ends_at_the_deadline",
        ),
        fault=Fault(
            f"{LIBRARY}/loop/research.py",
            'step = StepName(f"turn/{turn}/shrunk")',
            "return await self._run.parts.model.complete(ModelRequest(messages=self.conversation.for_research()))",
        ),
    ),
    Defect(
        row=24,
        what="the last message is the question, whoever wrote it",
        tests=(
            f"{SERVER_TESTS}/routes/test_chat.py::test_what_is_asked_for_reaches_the_service",
            f"{SERVER_TESTS}/routes/test_chat.py::test_a_conversation_without_a_user_message_is_a_bad_request",
            "tests/e2e/test_openai_sdk.py::test_without_a_user_message_there_is_no_question",
        ),
        fault=Fault(
            f"{SERVER}/submissions.py",
            'for index, message in enumerate(messages) if message.role == "user"), default=None)',
            "for index, message in enumerate(messages)), default=None)",
        ),
    ),
    Defect(
        row=25,
        what="a client's name for its request becomes a name of ours",
        tests=(f"{SERVER_TESTS}/test_run_service.py::test_what_a_client_names_is_only_ever_a_value",),
        fault=Fault(
            f"{SERVER}/run_service.py",
            "    if key is not None:\n        digest =",
            '    if key is not None:\n        return RunId(f"run_{key}")\n        digest =',
        ),
    ),
    Defect(
        row=26,
        what="ids collide",
        tests=(f"{SERVER_TESTS}/test_run_service.py::test_two_thousand_ids_made_at_once_are_two_thousand",),
        fault=Fault(
            f"{SERVER}/run_service.py",
            "secrets.token_bytes(14)",
            "secrets.token_bytes(1) + bytes(13)",
        ),
    ),
    Defect(
        row=27,
        what="the end of a part is taken for the end of the whole",
        tests=(
            f"{SERVER_TESTS}/projections/test_chat.py"
            "::test_research_within_a_call_neither_shows_in_the_answer_nor_ends_it",
        ),
        fault=Fault(
            f"{SERVER}/projections/chat.py",
            "case TurnRetracted(turn=turn, within=None):\n                self._thinking =",
            "case TurnRetracted(turn=turn):\n                self._thinking =",
        ),
    ),
    Defect(
        row=27,
        what="what is part of a call does not say so",
        tests=(
            f"{LIBRARY_TESTS}/loop/test_subtopic.py"
            "::test_the_parts_are_researched_at_once_and_their_events_lie_inside_their_calls",
        ),
        fault=Fault(f"{LIBRARY}/loop/nested_journal.py", "return replace(event, within=self._call_id)", "return event"),
    ),
    Defect(
        row=28,
        what="a tag that is split over two pieces is shown",
        tests=(
            f"{LIBRARY_TESTS}/models/test_think_tags.py"
            "::test_thinking_and_text_are_told_apart_wherever_the_reply_is_cut",
            f"{LIBRARY_TESTS}/models/test_think_tags.py::test_no_way_of_cutting_a_reply_changes_what_is_thinking",
            f"{LIBRARY_TESTS}/models/test_think_tags.py::test_a_tag_is_never_given_out_in_pieces",
        ),
        fault=Fault(
            f"{LIBRARY}/models/think_tags.py",
            "is_open = start >= 0 and (OPENING.startswith(rest[start:]) or CLOSING.startswith(rest[start:]))",
            "is_open = False",
        ),
    ),
    Defect(
        row=28,
        what="a retracted turn stays on screen",
        tests=(
            f"{LIBRARY_TESTS}/loop/test_research.py::test_a_retracted_reply_is_announced_and_streams_anew",
            "tests/e2e/test_failing_models.py"
            "::test_a_model_that_breaks_off_once_is_asked_again_and_the_client_can_tell",
        ),
        fault=Fault(
            f"{LIBRARY}/loop/model_turn.py",
            "            self.retract(piece.reason)\n            self.start()\n",
            "            pass\n",
        ),
    ),
    Defect(
        row=29,
        what="a reply that breaks off is read again from its beginning",
        tests=(
            f"{LIBRARY_TESTS}/models/test_openai_compatible.py"
            "::test_a_reply_that_fails_after_pieces_were_shown_is_retracted_before_it_starts_again",
            "tests/e2e/test_failing_models.py"
            "::test_a_model_that_breaks_off_once_is_asked_again_and_the_client_can_tell[turn/1]",
        ),
        fault=Fault(
            f"{LIBRARY}/models/openai_compatible.py",
            "if self._has_shown and self._on_delta is not None:",
            "if self._has_shown and self._on_delta is None:",
        ),
    ),
    Defect(
        row=30,
        what="a full window is noticed by the model alone",
        tests=(f"{LIBRARY_TESTS}/loop/test_research.py::test_research_ends_while_the_window_still_holds_the_report",),
        fault=Fault(f"{LIBRARY}/loop/conversation.py", "return needed < self._window_tokens", "return needed > 0"),
    ),
    Defect(
        row=30,
        what="a conversation that is too long is sent again and again",
        tests=(
            f"{LIBRARY_TESTS}/loop/test_conversation.py"
            "::test_shrinking_leaves_one_result_cut_to_the_window_and_happens_once",
            f"{LIBRARY_TESTS}/loop/test_research.py"
            "::test_a_conversation_too_long_for_the_model_is_shrunk_once_and_then_ended",
        ),
        fault=Fault(
            f"{LIBRARY}/loop/conversation.py",
            "        if self._max_chars is not None:\n            return False\n        self._keep = 1\n",
            "        self._shrunk = getattr(self, '_shrunk', 0) + 1\n"
            "        if self._shrunk > 10:\n            return False\n        self._keep = 1\n",
        ),
    ),
    Defect(
        row=31,
        what="a provider is called with a keyword that it has not",
        tests=(
            f"{LIBRARY_TESTS}/models/test_openai_compatible.py::test_the_model_is_what_every_model_is",
            f"{LIBRARY_TESTS}/models/tagged_calls/test_model.py::test_the_model_is_what_every_model_is",
        ),
        fault=Fault(
            f"{LIBRARY}/models/openai_compatible.py",
            "            idle_seconds=settings.idle_seconds,\n",
            "            idle_secs=settings.idle_seconds,\n",
        ),
    ),
    Defect(
        row=31,
        what="a model breaks off before it has said all",
        tests=(f"{LIBRARY_TESTS}/models/test_builtin.py::test_it_keeps_the_protocol",),
        fault=Fault(
            f"{LIBRARY}/models/builtin.py",
            "text=piece if is_last else",
            'text="" if is_last else',
        ),
    ),
    Defect(
        row=32,
        what="a wrong setting is passed over",
        tests=(
            f"{SERVER_TESTS}/test_settings.py::test_a_wrong_setting_names_itself_and_never_its_value",
            "tests/e2e/test_shutdown.py::test_a_wrong_setting_names_itself_and_stops_the_start",
        ),
        fault=Fault(
            f"{SERVER}/settings.py",
            "raise ConfigurationError(_explained(error)) from None",
            "return Settings(port=0)",
        ),
    ),
    Defect(
        row=33,
        what="a second process has limits of its own",
        tests=("tests/e2e/test_shutdown.py::test_a_second_server_on_the_same_directory_refuses_to_start",),
        fault=Fault(
            f"{SERVER}/data_directory.py",
            'raise ConfigurationError("DATA_DIR is in use by another server process.") from error',
            "del error",
        ),
    ),
    Defect(
        row=34,
        what="the proxy streams one path and holds back another",
        tests=("tests/e2e/test_nginx.py::test_event_arrives_before_the_next_one_is_made[POST-/v2/chat/completions]",),
        fault=Fault(
            "nginx/nginx.conf",
            "        location = /metrics {\n",
            "        location ^~ /v2/ {\n            proxy_http_version 1.0;\n            proxy_buffering on;\n"
            "            proxy_pass http://thinkpool;\n        }\n\n        location = /metrics {\n",
        ),
    ),
    Defect(
        row=36,
        what="the benchmark asks the same trifle again and again",
        tests=("tests/test_benchmark.py::test_a_deployment_is_measured_and_recorded",),
        fault=Fault(
            "benchmarks/client.py",
            'f"What do the records of quay {self._tag}-{next(self._numbers)} say?"',
            '"What is 2+2?"',
        ),
    ),
    Defect(
        row=37,
        what="parts of a question are configured and never to be had",
        tests=(f"{LIBRARY_TESTS}/loop/test_subtopic.py::test_a_part_reads_its_own_task_alone_and_cannot_divide_again",),
        fault=Fault(
            f"{LIBRARY}/loop/research.py",
            "self._has_subtopics = settings.subtopic_share > 0 and run.within is None",
            "self._has_subtopics = False",
        ),
    ),
    Defect(
        row=37,
        what="what is configured and is no tool is passed over",
        tests=(f"{SERVER_TESTS}/test_extensions.py::test_what_is_no_tool_stops_the_start_and_is_named",),
        fault=Fault(
            f"{SERVER}/extensions.py",
            "    if not is_one(made):\n        raise",
            "    if False:\n        raise",
        ),
    ),
    Defect(
        row=38,
        what="a model that hangs holds its run for hours",
        tests=(
            f"{LIBRARY_TESTS}/models/test_openai_compatible.py::test_silence_is_a_time_out_and_closes_the_connection",
            "tests/e2e/test_failing_models.py"
            "::test_a_model_that_misbehaves_ends_in_a_failed_run_and_never_in_an_empty_success[hangs]",
        ),
        fault=Fault(
            f"{LIBRARY}/models/openai_compatible.py",
            "            total_seconds=total_seconds,\n            idle_seconds=settings.idle_seconds,\n",
            "            total_seconds=3600 * total_seconds,\n            idle_seconds=3600 * settings.idle_seconds,\n",
        ),
    ),
    Defect(
        row=38,
        what="a model that refuses is asked for many minutes",
        tests=(
            f"{LIBRARY_TESTS}/outward/test_upstream.py"
            "::test_a_service_that_does_not_listen_is_unavailable_after_three_retries",
        ),
        fault=Fault(
            f"{LIBRARY}/outward/retry.py",
            "if retries >= min(self._max_retries, error.max_retries):",
            "if retries >= 100:",
        ),
    ),
    Defect(
        row=39,
        what="questions are logged",
        tests=("tests/e2e/test_observability.py::test_questions_pages_and_keys_stay_out_of_the_logs",),
        fault=Fault(
            f"{SERVER}/supervisor.py",
            "            claim.journal.emit(started)\n",
            "            claim.journal.emit(started)\n"
            '            _logger.info("working on %s", claim.record.question.text)\n',
        ),
    ),
    Defect(
        row=39,
        what="pages are logged",
        tests=(f"{SERVER_TESTS}/test_logs.py::test_content_is_hidden_unless_asked_for",),
        fault=Fault(
            f"{SERVER}/logs.py",
            "_KEY_FIELDS if is_content_logged else _KEY_FIELDS | _CONTENT_FIELDS",
            "_KEY_FIELDS",
        ),
    ),
    Defect(
        row=40,
        what="tools that fail stay in the pool",
        tests=(f"{LIBRARY_TESTS}/test_pool.py::test_a_pipeline_that_is_no_longer_healthy_is_replaced",),
        fault=Fault(
            f"{LIBRARY}/pool.py",
            "            return False\n        return await self._is_healthy(pipeline)\n",
            "            return False\n        return True\n",
        ),
    ),
    Defect(
        row=40,
        what="tools that failed at the start are never tried again",
        tests=(
            f"{LIBRARY_TESTS}/test_pool.py"
            "::test_a_pipeline_that_is_unhealthy_from_the_start_is_closed_and_made_again_after_a_pause",
        ),
        fault=Fault(
            f"{LIBRARY}/pool.py",
            "await self._sleep(pause_seconds * random.uniform(0.8, 1.2))",
            "await asyncio.Event().wait()",
        ),
    ),
)
