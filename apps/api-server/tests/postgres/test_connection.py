from thinkpool_server.postgres.connection import check_sessions


def test_a_server_itself_gives_each_connection_a_session(database_url: str) -> None:
    check_sessions(database_url)
